// Models: what each cut would do, and what another choice would gain before it is deployed.

import { confirmed } from "./confirm.js";
import { cutChart } from "./cuts.js";
import { h, sized } from "./dom.js";
import { bytes, digits, rate, seconds } from "./format.js";
import { icon as sign } from "./icons.js";
import { all, ask, one } from "./store.js";
import { colour } from "./chart.js";

export const title = "Models";
export const icon = "models";

const PAUSE = 120; // milliseconds after the last change before a forecast is asked for
const state = { model: "", chart: null, cuts: [], places: [], metric: "throughput", forecast: null, error: "", said: "", asked: 0, timer: null };

export function view(draw, [wanted]) {
  const models = all("model");
  if (!models.length) return h("p", { class: "empty" }, "The cluster knows no model yet; ", h("code", {}, "cutwater model add FILE"), " adds one.");
  const name = models.some((model) => model.name === wanted) ? wanted : state.model || models[0].name;
  if (name !== state.model) choose(name, draw);
  return [
    h("div", { class: "choice models-choice", role: "group", "aria-label": "Model" }, models.map((model) =>
      h("button", { key: model.name, "aria-pressed": String(model.name === name), onclick: () => { location.hash = `#/models/${encodeURIComponent(model.name)}`; } }, model.name))),
    about(one(`model/${name}`), deployed()),
    h("section", { class: "card", "aria-label": "Cuts" },
      h("header", {}, h("h2", {}, "Where it can be cut"), h("span", { class: "pale small" }, "bars: what a cut there sends; line: what two stages parted there would do"), metrics(draw)),
      state.error ? h("p", { class: "note-line bad", role: "alert" }, sign("bad"), state.error) : null,
      state.chart ? sized("cuts", 300, (width, height) => cutChart({ width, height, state, move: (k, cut) => move(k, cut, draw) })) : h("p", { class: "pale waiting" }, state.error ? "" : "Reading the model; this takes a moment the first time …")),
    state.chart ? h("div", { class: "grid2" }, choices(draw), forecast(draw)) : null,
  ];
}

function about(model, deployment) {
  return h("p", { class: "pale" }, `${bytes(model.nbytes)}${model.task ? `, made to ${model.task}` : ""}; takes ${model.inputs.join("; ")}; gives ${model.outputs.join("; ")}. `,
    deployment ? `Deployed for ${deployment.objective}${deployment.cuts.length ? ", cut as a person decided" : ", cut as the planner decided"}.` : "Not deployed.");
}

function metrics(draw) {
  return h("div", { class: "choice push", role: "group", "aria-label": "Line" }, ["throughput", "latency"].map((metric) =>
    h("button", { "aria-pressed": String(state.metric === metric), onclick: () => { state.metric = metric; draw(); } }, metric)));
}

function deployed() {
  const found = one(`deployment/${state.model}`);
  return found && found.state !== "going" ? found : null;
}

function live() {
  return deployed()?.epochs.find((epoch) => epoch.phase === "live") ?? null;
}

async function choose(name, draw) {
  Object.assign(state, { model: name, chart: null, forecast: null, error: "", said: "", cuts: [], places: [] });
  try {
    const chart = await ask(`/ui/models/${encodeURIComponent(name)}/cuts`);
    if (state.model !== name) return;
    state.chart = chart;
    const stages = live()?.chains[0]?.stages ?? [];
    state.cuts = stages.slice(0, -1).map((stage) => nameOf(stage.end));
    state.places = stages.map((stage) => stage.workers.find((worker) => !worker.spare)?.node ?? "");
    if (!state.cuts.length) state.cuts = [chart.points[Math.floor(chart.points.length / 2)].name];
    change(draw);
  } catch (error) {
    if (state.model === name) state.error = error.message;
  }
  draw();
}

function nameOf(label) {
  return state.chart.points.find((point) => point.label === label)?.name ?? label;
}

// Something of the choice is another one now.
function change(draw) {
  while (state.places.length <= state.cuts.length) state.places.push("");
  state.places.length = state.cuts.length + 1;
  clearTimeout(state.timer);
  state.timer = setTimeout(() => foresee(draw), PAUSE);
  draw();
}

async function foresee(draw) {
  const turn = ++state.asked;
  try {
    const found = await ask(`/ui/models/${encodeURIComponent(state.model)}/forecast`, { cuts: state.cuts, places: state.places });
    if (turn === state.asked) Object.assign(state, found.impossible ? { forecast: null, error: found.impossible } : { forecast: found, error: "" });
  } catch (error) {
    if (turn === state.asked) Object.assign(state, { forecast: null, error: error.message });
  }
  draw();
}

function move(k, cut, draw) {
  if (state.cuts[k] === cut) return;
  state.cuts[k] = cut;
  change(draw);
}

function add(draw) {
  const taken = new Set(state.cuts);
  const shares = [0, ...state.cuts.map((cut) => share(cut)), 1];
  const widest = shares.slice(1).map((end, k) => [end - shares[k], k]).sort((a, b) => b[0] - a[0])[0][1];
  const middle = (shares[widest] + shares[widest + 1]) / 2;
  const free = state.chart.points.filter((point) => !taken.has(point.name) && point.share > shares[widest] && point.share < shares[widest + 1]);
  if (!free.length) return;
  const nearest = free.reduce((best, point) => (Math.abs(point.share - middle) < Math.abs(best.share - middle) ? point : best));
  state.cuts.splice(widest, 0, nearest.name);
  state.places.splice(widest + 1, 0, "");
  change(draw);
}

function share(cut) {
  const k = state.cuts.indexOf(cut);
  return state.chart.points.find((point) => point.name === cut)?.share ?? state.forecast?.stages[k]?.share ?? 0.5;
}

function remove(k, draw) {
  state.cuts.splice(k, 1);
  state.places.splice(k + 1, 1);
  change(draw);
}

function choices(draw) {
  const stages = state.cuts.length + 1;
  return h("section", { class: "card", "aria-label": "Your choice" },
    h("header", {}, h("h2", {}, "What if"), h("span", { class: "push row" },
      h("button", { disabled: stages >= state.chart.nodes.length, onclick: () => add(draw) }, "Add a cut"),
      h("button", { disabled: !state.forecast, onclick: () => best(draw) }, "Take the best"))),
    h("ol", { class: "stages" }, Array.from({ length: stages }, (_, k) => [stageChoice(k, draw), k < stages - 1 ? cutChoice(k, draw) : null])),
    h("datalist", { id: "cut-names" }, state.chart.points.map((point) => h("option", { value: point.name, key: point.name }))));
}

function stageChoice(k, draw) {
  const picked = (event) => { state.places[k] = event.target.value; change(draw); };
  return h("li", { key: `stage${k}`, class: "pick", style: { "--tint": colour(k) } },
    h("strong", {}, `Stage ${k + 1}`),
    h("label", {}, "runs on", h("select", { onchange: picked, value: state.places[k] ?? "", "aria-label": `Node of stage ${k + 1}` },
      h("option", { value: "", key: "" }, "the node that suits best"), state.chart.nodes.map((node) => h("option", { value: node, key: node }, node)))));
}

function cutChoice(k, draw) {
  const typed = (event) => { if (event.target.value.trim()) move(k, event.target.value.trim(), draw); };
  return h("li", { key: `cut${k}`, class: "pick cut" },
    h("strong", {}, `Cut ${k + 1}`),
    h("label", {}, "a layer, or a share such as 40%", h("input", { type: "text", list: "cut-names", value: state.cuts[k], onchange: typed, "aria-label": `Cut ${k + 1}` })),
    state.cuts.length > 1 ? h("button", { onclick: () => remove(k, draw), "aria-label": `Remove cut ${k + 1}` }, sign("bad")) : null);
}

function best(draw) {
  state.cuts = state.forecast.best_cuts.map(nameOf);
  state.places = [...state.forecast.best_places];
  change(draw);
}

function forecast(draw) {
  const found = state.forecast;
  const now = live();
  const measured = deployed();
  if (!found) return h("section", { class: "card" }, h("header", {}, h("h2", {}, "Forecast")), h("p", { class: "pale" }, state.error ? "This cannot be." : "Working it out …"));
  const cell = (text, against) => h("td", { class: "number" }, text, against ? h("span", { class: `small ${against > 0 ? "good-text" : "pale"}` }, ` ${against > 0 ? "+" : "−"}${digits(Math.abs(against) * 100, 2)} %`) : null);
  const gain = (a, b) => (b && Math.abs(a / b - 1) >= 0.005 ? a / b - 1 : 0);
  return h("section", { class: "card forecast", "aria-label": "Forecast", "aria-live": "polite" },
    h("header", {}, h("h2", {}, "Forecast"), h("button", { class: "main push", onclick: () => deploy(draw) }, "Deploy this")),
    h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "hidden" }, "What")), ["Throughput", "Latency"].map((text) => h("th", { class: "number", scope: "col" }, text)))),
      h("tbody", {},
        h("tr", { class: "strong" }, h("th", { scope: "row" }, "This choice"), cell(rate(found.throughput), gain(found.throughput, now?.throughput)), cell(seconds(found.latency))),
        now ? h("tr", {}, h("th", { scope: "row" }, "Live, predicted when it was planned"), cell(rate(now.throughput)), cell(seconds(now.latency))) : null,
        measured ? h("tr", {}, h("th", { scope: "row" }, "Live, measured"), cell(measured.rate > 0 ? rate(measured.rate) : "–"), cell(measured.p50 ? `${seconds(measured.p50)} p50` : "–")) : null,
        h("tr", {}, h("th", { scope: "row" }, "Best plan, as busy as it is now"), cell(rate(found.best_throughput)), cell(seconds(found.best_latency))))),
    h("p", { class: "note-line" }, sign("warn"), h("span", {}, h("strong", {}, "Bottleneck: "), `${found.bottleneck}.`)),
    h("ul", { class: "foreseen" }, found.stages.map((stage, k) => stageForecast(stage, found.hops[k], k, found))),
    state.said ? h("p", { class: "note-line", role: "status" }, sign("good"), h("span", {}, state.said, " ", h("a", { href: "#/overview" }, "Watch it"))) : null);
}

function stageForecast(stage, hop, k, found) {
  const longest = Math.max(...found.stages.map((each) => each.compute + each.transfer));
  return h("li", { key: `f${k}`, style: { "--tint": colour(k) } },
    h("span", { class: "small pale" }, `${k ? "then " : ""}${bytes(hop.nbytes)}${hop.codec === "raw" ? "" : ` as ${hop.codec}`}, ${seconds(hop.seconds)} on the way`),
    h("div", { class: "meter" }, h("strong", {}, `Stage ${k + 1}`), h("span", { class: "bar", style: { "--part": `${((stage.compute + stage.transfer) / longest) * 100}%` } }, h("i", {})), h("span", {}, `${seconds(stage.compute + stage.transfer)} on ${stage.node}`)));
}

async function deploy(draw) {
  const model = state.model;
  const stages = state.forecast.stages.map((stage) => stage.node).join(", then ");
  const text = `${model} is brought up on ${stages}, and requests switch over when it answers. What runs now goes on until then.`;
  if (!(await confirmed({ title: `Deploy ${model} like this?`, text, act: "Deploy" }))) return;
  try {
    await ask(`/ui/models/${encodeURIComponent(model)}/deploy`, { cuts: state.cuts, places: state.places });
    state.said = "It is being brought up.";
  } catch (error) {
    state.error = error.message;
  }
  draw();
}
