// The chart of a model's cuts: work from left to right, what a cut sends, what it would do; handles to move the cuts.

import { colour, mark, onColour, ticks } from "./chart.js";
import { h } from "./dom.js";
import { bytes, rate, seconds } from "./format.js";

const LEFT = 62, RIGHT = 62, TOP = 46, BOTTOM = 40;

export function cutChart({ width, height, state, move }) {
  const { points, input_bytes: entered } = state.chart;
  const x = (share) => LEFT + (width - LEFT - RIGHT) * share;
  const sizes = points.map((point) => point.nbytes);
  const low = 10 ** Math.floor(Math.log10(Math.max(Math.min(...sizes, entered), 1)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...sizes, entered)));
  const floor = height - BOTTOM;
  const y = (size) => floor - ((floor - TOP) * Math.log10(Math.max(size, low) / low)) / Math.log10(high / low);
  const metric = state.metric === "latency" ? (point) => point.latency : (point) => point.throughput;
  const show = state.metric === "latency" ? seconds : rate;
  const marks = ticks(Math.max(...points.map(metric)));
  const up = (value) => floor - ((floor - TOP) * value) / marks.at(-1);
  const shares = state.cuts.map((cut, k) => points.find((point) => point.name === cut)?.share ?? state.forecast?.stages[k]?.share ?? 0.5);
  return h("svg", { width, height, role: "group", "aria-label": `${points.length} cuts of ${state.model}`, class: "cuts" },
    strip(shares, state, x),
    decades(low, high).map((size) => [
      h("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: Math.round(y(size)), y2: Math.round(y(size)) }),
      h("text", { x: LEFT - 8, y: Math.round(y(size)) + 4, "text-anchor": "end" }, decimal(size)),
    ]),
    points.map((point) => h("rect", { class: "border", x: x(point.share) - 1.25, y: y(point.nbytes), width: 2.5, height: floor - y(point.nbytes) }, h("title", {}, `${point.label}: ${bytes(point.nbytes)} in ${point.tensors === 1 ? "one tensor" : `${point.tensors} tensors`}, ${rate(point.throughput)}, ${seconds(point.latency)}`))),
    h("path", { class: "line score", d: points.map((point, k) => `${k ? "L" : "M"}${x(point.share).toFixed(1)},${up(metric(point)).toFixed(1)}`).join("") }),
    marks.map((value) => h("text", { class: "score", x: width - RIGHT + 8, y: Math.round(up(value)) + 4 }, mark(show(value)))),
    [0, 0.25, 0.5, 0.75, 1].map((share) => h("text", { x: x(share), y: height - 22, "text-anchor": "middle" }, `${share * 100} %`)),
    h("text", { x: (LEFT + width - RIGHT) / 2, y: height - 5, "text-anchor": "middle" }, "share of the model's work before the cut"),
    shares.map((share, k) => handle({ k, share, shares, state, x, floor, move, points, width })));
}

function strip(shares, state, x) {
  const ends = [0, ...shares, 1];
  return ends.slice(1).map((end, k) => {
    const room = x(end) - x(ends[k]);
    const place = state.places[k] || state.forecast?.stages[k]?.node || "";
    const text = room > 150 && place ? `stage ${k + 1} · ${place}` : room > 62 ? `stage ${k + 1}` : `${k + 1}`;
    return [
      h("rect", { x: x(ends[k]) + 1, y: 8, width: Math.max(room - 2, 0), height: 24, rx: 5, fill: colour(k), class: "block" }),
      h("text", { x: (x(ends[k]) + x(end)) / 2, y: 24, "text-anchor": "middle", class: "on", style: { fill: onColour(k) } }, text),
    ];
  });
}

function handle({ k, share, shares, state, x, floor, move, points, width }) {
  const least = shares[k - 1] ?? -1;
  const most = shares[k + 1] ?? 2;
  const able = points.filter((point) => point.share > least && point.share < most);
  const here = able.findIndex((point) => point.name === state.cuts[k]);
  const now = able[here];
  const go = (index) => { if (able[index]) move(k, able[index].name); };
  const keys = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 };
  const press = (event) => {
    if (event.key in keys) go(Math.min(Math.max(here + keys[event.key], 0), able.length - 1));
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(able.length - 1);
    else return;
    event.preventDefault();
  };
  const drag = (event) => {
    if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
    const box = event.currentTarget.ownerSVGElement.getBoundingClientRect();
    const wanted = (event.clientX - box.left - LEFT) / (width - LEFT - RIGHT);
    const nearest = able.reduce((best, point) => (Math.abs(point.share - wanted) < Math.abs(best.share - wanted) ? point : best), able[0]);
    if (nearest) move(k, nearest.name);
  };
  const text = now ? `${now.label}, ${bytes(now.nbytes)}` : state.cuts[k];
  const side = share > 0.6 ? "end" : "start";
  return h("g", {
    key: `handle${k}`, class: "handle", tabindex: "0", role: "slider", "aria-label": `Cut ${k + 1}`, "aria-valuemin": 0, "aria-valuemax": Math.max(able.length - 1, 0),
    "aria-valuenow": Math.max(here, 0), "aria-valuetext": text, onkeydown: press,
    onpointerdown: (event) => { event.currentTarget.setPointerCapture(event.pointerId); event.currentTarget.focus(); event.preventDefault(); }, onpointermove: drag,
  },
    h("rect", { class: "reach", x: x(share) - 14, y: 4, width: 28, height: floor - 4 }),
    h("line", { x1: x(share), x2: x(share), y1: 4, y2: floor }),
    h("circle", { cx: x(share), cy: floor, r: 8 }),
    h("text", { class: "says", x: x(share) + (side === "end" ? -12 : 12), y: TOP + 14 + 18 * k, "text-anchor": side }, text));
}

function decades(low, high) {
  const found = [];
  for (let size = low; size <= high; size *= 10) found.push(size);
  return found;
}

function decimal(size) {
  return size >= 1e9 ? `${size / 1e9} GB` : size >= 1e6 ? `${size / 1e6} MB` : size >= 1e3 ? `${size / 1e3} kB` : `${size} B`;
}
