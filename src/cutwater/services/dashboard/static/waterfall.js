// One request's time as a waterfall: hops, waiting, decoding, computing, encoding, one below the other.

import { colour, mark, ticks } from "./chart.js";
import { h } from "./dom.js";
import { seconds } from "./format.js";

const WORDS = { queue: "waits", decode: "decodes", compute: "computes", encode: "encodes", hold: "holds it" };
const TINTS = { wait: "var(--queue)", hop: "var(--hop)", queue: "var(--queue)", decode: "var(--code)", encode: "var(--code)", hold: "var(--queue)" };

export function waterfall(story) {
  const pieces = story.pieces;
  if (!pieces.length) return h("p", { class: "pale" }, "No stage left a mark on it.");
  const total = story.seconds;
  const marks = ticks(total).filter((value) => value <= total);
  const shown = pieces.filter(([kind, , , length]) => kind === "hop" || kind === "compute" || length / total > 0.002);
  return h("div", { class: "waterfall" },
    h("ol", {}, shown.map(([kind, stage, start, length], k) => h("li", { key: `${kind}${stage}${k}`, class: kind === "compute" ? "own" : null },
      h("span", { class: "what" }, name(kind, stage, story)),
      h("span", { class: "track" }, h("i", { style: { left: `${(start / total) * 100}%`, width: `${(length / total) * 100}%`, "--tint": TINTS[kind] ?? colour(stage) } })),
      h("b", {}, seconds(length))))),
    h("div", { class: "scale", "aria-hidden": "true" }, marks.map((value) => h("span", { style: { left: `${(value / total) * 100}%` } }, mark(seconds(value))))),
    story.exact ? null : h("p", { class: "small pale" }, "The clocks of these machines differ: what the stages do not account for is shared out evenly over the hops."));
}

function name(kind, stage, story) {
  const last = story.stages.length;
  if (kind === "wait") return "waits at the gateway";
  if (kind === "hop") return stage === 0 ? "gateway → stage 1" : stage === last ? "way back" : `stage ${stage} → ${stage + 1}`;
  return `stage ${stage + 1} ${WORDS[kind]}`;
}
