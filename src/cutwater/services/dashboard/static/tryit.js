// Try it: a picture in, labels or boxes out, and which stages did it.

import { h } from "./dom.js";
import { percent, seconds } from "./format.js";
import { icon as sign } from "./icons.js";
import { all, ask, one } from "./store.js";
import { colour } from "./chart.js";
import { waterfall } from "./waterfall.js";

export const title = "Try it";
export const icon = "try";

const WIDEST = 720;
const state = { model: "", picture: null, name: "", found: null, story: null, error: "", busy: false, canvas: null };

export function view(draw) {
  const models = all("deployment").map((each) => one(`model/${each.model}`)).filter((model) => model?.task);
  if (!models.length) {
    return h("p", { class: "empty" }, "No deployed model takes pictures. ", h("code", {}, "cutwater model add efficientnet-lite0"), " and ", h("code", {}, "cutwater deploy efficientnet-lite0"), " bring one up.");
  }
  if (!models.some((model) => model.name === state.model)) state.model = models[0].name;
  const model = models.find((each) => each.name === state.model);
  return h("div", { class: "grid2" },
    h("section", { class: "card", "aria-label": "Picture" },
      h("header", {}, h("label", { class: "inline" }, "Model ", h("select", { onchange: (event) => { state.model = event.target.value; again(draw); } },
        models.map((each) => h("option", { key: each.name, value: each.name, selected: each.name === state.model }, `${each.name}, to ${each.task}`))))),
      drop(draw),
      h("div", { class: `canvas ${state.picture ? "" : "hidden"}` }, h("canvas", { role: "img", "aria-label": seen(model), ref: (dom) => { state.canvas = dom; paint(model); } }))),
    answer(model));
}

function drop(draw) {
  const take = (files) => { if (files?.[0]) open(files[0], draw); };
  const over = (on) => (event) => { event.preventDefault(); event.currentTarget.classList.toggle("over", on); };
  return h("label", { class: "drop", ondragover: over(true), ondragleave: over(false), ondrop: (event) => { over(false)(event); take(event.dataTransfer.files); } },
    sign("try"), h("span", {}, h("strong", {}, "Choose a picture"), " or drop one here"), h("span", { class: "small pale" }, state.name || "JPEG, PNG or WebP; it goes to this gateway and nowhere else"),
    h("input", { type: "file", accept: "image/*", class: "hidden", onchange: (event) => { take(event.target.files); event.target.value = ""; } }));
}

async function open(file, draw) {
  Object.assign(state, { found: null, story: null, error: "", name: file.name });
  try {
    state.picture = { file, bitmap: await createImageBitmap(file) };
  } catch {
    Object.assign(state, { picture: null, error: `${file.name} is no picture that this browser can read` });
    return draw();
  }
  return again(draw);
}

async function again(draw) {
  if (!state.picture) return draw();
  const model = one(`model/${state.model}`);
  Object.assign(state, { busy: true, found: null, story: null, error: "" });
  paint(model);
  draw();
  const form = new FormData();
  form.append("image", state.picture.file);
  form.append("model", model.name);
  const began = performance.now();
  try {
    state.found = await ask(`/v1/${model.task}`, form);
    state.found.round = (performance.now() - began) / 1000;
    state.story = await ask(`/ui/requests/${encodeURIComponent(state.found.request)}`);
  } catch (error) {
    state.error = error.message;
  }
  state.busy = false;
  paint(model);
  return draw();
}

function seen(model) {
  if (!state.found) return "The picture";
  if (model.task === "detect") return `The picture with ${state.found.detections.length} boxes`;
  return `The picture, most likely ${state.found.classes[0]?.label ?? "nothing known"}`;
}

function paint(model) {
  const canvas = state.canvas;
  if (!canvas || !state.picture) return;
  const { bitmap } = state.picture;
  const scale = Math.min(1, WIDEST / bitmap.width);
  Object.assign(canvas, { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (model.task !== "detect" || !state.found) return;
  const style = getComputedStyle(document.documentElement);
  const tone = (kind, each) => style.getPropertyValue(`--${kind}${(each.class % 8) + 1}`);
  state.found.detections.forEach((each) => box(pen, each, scale, tone("s", each), tone("o", each)));
}

function box(pen, { box: [left, top, right, bottom], label, score }, scale, tint, on) {
  const [x, y] = [left * scale, top * scale];
  const text = `${label} ${percent(score)}`;
  pen.font = "600 13px system-ui, sans-serif";
  const wide = pen.measureText(text).width + 10;
  const above = y > 20 ? y - 20 : y;
  pen.lineWidth = 3;
  pen.strokeStyle = pen.fillStyle = tint;
  pen.strokeRect(x, y, (right - left) * scale, (bottom - top) * scale);
  pen.fillRect(x - 1.5, above, wide, 20);
  pen.fillStyle = on;
  pen.fillText(text, x + 4, above + 14);
}

function answer(model) {
  const found = state.found;
  return h("section", { class: "card", "aria-label": "Answer", "aria-live": "polite" },
    h("header", {}, h("h2", {}, model.task === "detect" ? "What is where" : "What it shows"), found ? h("span", { class: "push pale small" }, `${seconds(found.latency)} in the cluster, ${seconds(found.round)} for this page`) : null),
    state.error ? h("p", { class: "note-line bad", role: "alert" }, sign("bad"), state.error) : null,
    state.busy ? h("p", { class: "pale" }, "Asking …") : null,
    found ? labels(model, found) : state.busy || state.error ? null : h("p", { class: "pale" }, "The answer stands here, with the way it took through the stages."),
    state.story ? [h("h3", { class: "gap" }, "The way it took"), waterfall(state.story), stagesOf(state.story)] : null);
}

function labels(model, found) {
  const rows = model.task === "detect" ? found.detections : found.classes;
  if (!rows.length) return h("p", { class: "pale" }, "Nothing was found.");
  return h("ol", { class: "labels" }, rows.map((each, k) => h("li", { key: `${k}${each.label}`, style: { "--tint": model.task === "detect" ? colour(each.class) : colour(0) } },
    h("span", {}, each.label), h("span", { class: "bar", style: { "--part": `${each.score * 100}%` } }, h("i", {})), h("b", {}, percent(each.score)))));
}

function stagesOf(story) {
  const live = one(`deployment/${story.model}`)?.epochs.find((epoch) => epoch.phase === "live");
  const nodes = (k) => [...new Set((live?.chains ?? []).flatMap((chain) => chain.stages[k]?.workers.map((worker) => worker.node) ?? []))].join(" or ");
  return h("p", { class: "small pale" }, story.degraded ? "The gateway did it by itself." : story.stages.map((_, k) => `Stage ${k + 1} on ${nodes(k)}`).join(", "));
}
