// Requests: the recent, the slowest, the failed ones; and where the time of one of them went.

import { h } from "./dom.js";
import { bytes, clock, plural, seconds } from "./format.js";
import { icon as sign } from "./icons.js";
import { all, ask } from "./store.js";
import { waterfall } from "./waterfall.js";

export const title = "Requests";
export const icon = "requests";

const LISTS = { recent: "Recent", slowest: "Slowest", failed: "Failed" };
const EVERY = 1000;
const state = { list: "recent", model: "", lists: null, paused: false, timer: null, shown: null, story: null, error: "" };

export function view(draw, [request]) {
  if (!state.timer && !state.paused) load(draw);
  if (request && request !== state.shown) open(request, draw);
  return [
    h("div", { class: "row" },
      h("div", { class: "choice", role: "group", "aria-label": "Which requests" }, Object.entries(LISTS).map(([key, name]) =>
        h("button", { "aria-pressed": String(state.list === key), onclick: () => { state.list = key; draw(); } }, name))),
      h("label", {}, h("span", { class: "hidden" }, "Model"), h("select", { "aria-label": "Model", onchange: (event) => { state.model = event.target.value; load(draw); } },
        h("option", { value: "" }, "All models"), all("model").map((model) => h("option", { value: model.name, key: model.name }, model.name)))),
      h("button", { "aria-pressed": String(state.paused), onclick: () => pause(draw) }, state.paused ? "Go on" : "Pause")),
    h("div", { class: "grid2 wideleft" }, list(draw), details()),
  ];
}

export function leave() {
  clearTimeout(state.timer);
  Object.assign(state, { timer: null, shown: null, story: null });
}

function pause(draw) {
  state.paused = !state.paused;
  clearTimeout(state.timer);
  state.timer = null;
  draw();
}

async function load(draw) {
  clearTimeout(state.timer);
  state.timer = setTimeout(() => load(draw), EVERY);
  // What somebody points at, or walks through by keyboard, must not run away.
  if (state.lists && document.querySelector(".list ol:hover, .list ol:focus-within")) return;
  try {
    state.lists = await ask(`/ui/requests?model=${encodeURIComponent(state.model)}`);
    state.error = "";
  } catch (error) {
    state.error = error.message;
  }
  draw();
}

async function open(request, draw) {
  Object.assign(state, { shown: request, story: null });
  try {
    state.story = await ask(`/ui/requests/${encodeURIComponent(request)}`);
  } catch (error) {
    state.story = { error: error.message };
  }
  draw();
}

function list() {
  const found = state.lists?.[state.list] ?? [];
  const longest = Math.max(...found.map((each) => each.seconds), 1e-6);
  return h("section", { class: "card list", "aria-label": `${LISTS[state.list]} requests` },
    state.error ? h("p", { class: "note-line bad" }, sign("bad"), state.error) : null,
    found.length ? h("ol", {}, found.map((each) => row(each, longest))) : h("p", { class: "pale" }, state.lists ? "None so far." : "Loading …"));
}

function row(each, longest) {
  const [mark, tone, word] = each.fault ? ["bad", "bad", each.fault] : each.degraded ? ["warn", "warn", "degraded"] : ["good", "good", "answered"];
  return h("li", { key: each.request }, h("a", { href: `#/requests/${encodeURIComponent(each.request)}`, "aria-current": state.shown === each.request ? "true" : null },
    h("span", { class: `mark ${tone}`, title: word }, sign(mark), h("span", { class: "hidden" }, word)),
    h("time", { class: "pale" }, clock(each.at)), h("span", { class: "who" }, each.model, h("span", { class: "pale" }, ` ${each.door}`)),
    h("span", { class: "bar", style: { "--part": `${(each.seconds / longest) * 100}%`, "--tint": each.fault ? "var(--bad)" : "var(--s1)" } }, h("i", {})),
    h("b", {}, seconds(each.seconds))));
}

function details() {
  const story = state.story;
  if (!story) return h("section", { class: "card details" }, h("p", { class: "pale" }, state.shown ? "Loading …" : "Choose a request to see where its time went."));
  if (story.error) return h("section", { class: "card details" }, h("p", { class: "note-line bad" }, sign("bad"), story.error));
  return h("section", { class: "card details", "aria-label": `Request ${story.request}` },
    h("header", {}, h("h2", {}, `Request ${story.request}`), h("span", { class: `tag ${story.fault ? "bad" : "good"}` }, sign(story.fault ? "bad" : "good"), story.fault || "answered")),
    h("p", { class: "small pale" }, `${story.model} by ${story.door}${story.client ? ` from ${story.client}` : ""} at ${clock(story.at)}; ${seconds(story.seconds)}, ${bytes(story.came)} in, ${bytes(story.went)} out${story.id ? `; its client calls it ${story.id}` : ""}`),
    story.why ? h("p", { class: "note-line bad" }, sign("bad"), story.why) : null,
    story.degraded ? h("p", { class: "note-line" }, sign("warn"), "The gateway answered by itself: no worker was left.") : null,
    waterfall(story),
    story.stages.some((stage) => stage.batch > 1) ? h("p", { class: "small pale" }, story.stages.map((stage, k) => `stage ${k + 1} computed it with ${plural(stage.batch - 1, "other")}`).join(", ")) : null);
}
