// Fleet: the machines, what they are busy with, the links between them, and who is lost.

import { colour } from "./chart.js";
import { h, sized } from "./dom.js";
import { bits, bytes, digits, percent, plural, rate, seconds } from "./format.js";
import { icon as sign } from "./icons.js";
import { map } from "./map.js";
import { all, one } from "./store.js";

export const title = "Fleet";
export const icon = "fleet";

const STATES = {
  alive: ["good", "good", "Alive"], silent: ["warn", "warn", "Silent"], lost: ["bad", "bad", "Lost"],
  draining: ["down", "warn", "Draining"], leaving: ["down", "warn", "Leaving"],
};

export function view() {
  const nodes = all("node");
  return [
    h("section", { class: "card" },
      h("header", {}, h("h2", {}, "Machines and what flows between them"), h("span", { class: "pale small push" }, leader())),
      sized("map", mapHeight(nodes), (width, height) => map(width, height)),
      h("ul", { class: "legend" }, all("deployment").map((each, k) => h("li", { key: each.model, style: { "--tint": colour(k) } }, h("i", {}), each.model, h("b", {}, rate(each.rate)))))),
    h("section", { class: "nodes", "aria-label": "Nodes" }, nodes.map(card)),
    links(),
  ];
}

function mapHeight(nodes) {
  const hosts = new Set(nodes.map((node) => node.host)).size;
  return hosts === 1 ? 150 : Math.min(560, 180 + 60 * hosts);
}

function leader() {
  const cluster = one("cluster");
  return cluster.leader ? `${cluster.leader} leads since ${new Date(cluster.since).toLocaleTimeString([], { hour12: false })}` : "no coordinator leads";
}

function card(node) {
  const [mark, tone, word] = STATES[node.state];
  const gateways = all("gateway").filter((gateway) => gateway.node === node.name);
  const busy = node.workers.reduce((sum, worker) => sum + worker.busy, 0);
  return h("article", { class: `card node ${node.state}`, key: node.name, "aria-label": `${node.name}, ${word}`, "data-node": node.name },
    h("header", {}, h("h2", {}, node.name), h("span", { class: `tag push ${tone}` }, sign(mark), word)),
    h("p", { class: "small pale machine" }, `${node.machine}, ${plural(node.cores, "core")}, speed ${digits(node.speed)}${node.temperature ? `, ${Math.round(node.temperature)} °C` : ""}`),
    meter("CPU", node.cpu, percent(node.cpu), "--s1"),
    meter("Memory", node.used / node.memory, `${bytes(node.used)} of ${bytes(node.memory)}`, "--s3"),
    meter("Stages", Math.min(busy / node.cores, 1), `${node.workers.filter((worker) => worker.phase === "ready").length} of ${node.workers.length} ready`, "--s2"),
    h("ul", { class: "small hosted" },
      gateways.map((gateway) => h("li", { key: gateway.name }, gateway.name, h("span", { class: "pale" }, " is a gateway, where requests come in"))),
      node.workers.length ? node.workers.map((worker) => h("li", { key: worker.name }, stageName(worker.name), h("span", { class: "pale" }, ` ${worker.phase}, ${percent(worker.busy)} busy`))) : h("li", { class: "pale" }, "no stages here")));
}

// "vit.3.0.1.0" is the worker of stage 2 in epoch 3 of vit.
export function stageName(worker) {
  const parts = worker.split(".");
  const [epoch, , stage] = parts.slice(-4);
  return `${parts.slice(0, -4).join(".")}, stage ${Number(stage) + 1}, epoch ${epoch}`;
}

function meter(name, share, text, tint) {
  return h("div", { class: "meter" }, h("span", { class: "pale" }, name),
    h("span", { class: "bar", style: { "--tint": `var(${tint})`, "--part": `${Math.round(share * 100)}%` } }, h("i", {})), h("span", {}, text));
}

function links() {
  const found = all("link");
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "Links")),
    found.length ? null : h("p", { class: "pale small" }, "All nodes are on one machine: what they send each other lies in shared memory, and there is no network to measure."),
    found.length ? h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Measured links" }, h("table", {},
      h("thead", {}, h("tr", {}, ["From", "To", "Rate", "Latency, one way"].map((text, k) => h("th", { class: k > 1 ? "number" : "" }, text)))),
      h("tbody", {}, found.map((link) => h("tr", { key: `${link.source}/${link.target}` }, h("td", {}, link.source), h("td", {}, link.target), h("td", { class: "number" }, bits(link.bandwidth)), h("td", { class: "number" }, seconds(link.latency))))))) : null);
}
