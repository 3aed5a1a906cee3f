// The page's frame: which view is shown, whether the gateway is there, and when to draw.

import { h, onResize, render } from "./dom.js";
import { seconds } from "./format.js";
import { icon } from "./icons.js";
import { all, follow, known, onChange, one } from "./store.js";
import * as drills from "./drills.js";
import * as events from "./events.js";
import * as fleet from "./fleet.js";
import * as models from "./models.js";
import * as overview from "./overview.js";
import * as requests from "./requests.js";
import * as tryit from "./tryit.js";

const VIEWS = { overview, fleet, requests, models, try: tryit, events, drills };
const main = document.getElementById("main");
let shown = "";
let asked = false;

function place() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return VIEWS[name] ? [name, rest] : ["overview", []];
}

export function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const [name, rest] = place();
    render(document.getElementById("nav"), navigation(name));
    render(document.getElementById("standing"), standing());
    render(main, h("div", { key: name, class: `view ${name}` }, view(name, rest)));
  });
}

function view(name, rest) {
  if (!known.things.size) return h("p", { class: "empty" }, "Waiting for the gateway …");
  return [h("h1", {}, VIEWS[name].title), VIEWS[name].view(draw, rest)];
}

function navigation(name) {
  const lost = all("node").filter((node) => node.state === "lost").length;
  return h("ul", {}, Object.entries(VIEWS).map(([key, each]) =>
    h("li", {}, h("a", { href: `#/${key}`, "aria-current": key === name ? "page" : null },
      icon(each.icon), h("span", {}, each.title),
      key === "fleet" && lost ? h("b", { class: "count", "aria-label": `${lost} lost` }, lost) : null))));
}

function standing() {
  const cluster = one("cluster");
  const apart = Math.round((Date.now() - known.since) / 1000);
  if (known.line === "live" && cluster?.leader && !cluster.stale) {
    return h("span", { class: "tag good" }, icon("dot"), "Live", h("span", { class: "wide" }, ` · ${known.gateway}`));
  }
  if (known.line === "live") {
    return h("span", { class: "tag warn" }, icon("warn"), cluster?.stale ? `Picture ${seconds(cluster.stale)} old` : "No coordinator");
  }
  return h("span", { class: "tag warn" }, icon("warn"), known.line === "connecting" ? "Connecting" : `No gateway for ${apart} s`);
}

function go() {
  const [name] = place();
  document.title = `${VIEWS[name].title} · Cutwater`;
  if (shown && shown !== name) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  VIEWS[shown]?.leave?.();
  shown = name;
  draw();
}

document.querySelector(".skip").onclick = (event) => {
  event.preventDefault(); // the address says which view is shown
  main.focus();
};
addEventListener("hashchange", go);
onChange(draw);
onResize(draw);
setInterval(draw, 1000); // charts move on even while nothing comes
follow();
go();
