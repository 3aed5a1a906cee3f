// Lines over the last five minutes, with labelled axes; pointing at a moment shows its figures.

import { h, sized } from "./dom.js";
import { known, now } from "./store.js";

export const SPAN = 300;
const LEFT = 58, RIGHT = 10, TOP = 10, BOTTOM = 24;
let pointed = null; // seconds ago; the same moment in all charts

// "1.00/s" at an axis is "1/s".
export function mark(text) {
  return text.replace(/\.0+(?=\D|$)|(\.\d*?[1-9])0+(?=\D|$)/, "$1");
}

export function colour(index) {
  return `var(--s${(index % 8) + 1})`;
}

// What can be read on that colour.
export function onColour(index) {
  return `var(--o${(index % 8) + 1})`;
}

// Steps of 1, 2 or 5 times a power of ten: at most four of them.
export function ticks(most) {
  if (!(most > 0)) return [0, 1];
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, k) => k * step);
}

// `lines`: [{name, tint, thin, area, of: (row) => value or null, model}]; `idle`: what a second without requests is.
export function chart({ name, label, lines, idle, show, height = 190, draw }) {
  const until = Math.floor(now()) - 1;
  const series = lines.map((line) => {
    const seconds = known.seconds.get(line.model);
    return Array.from({ length: SPAN }, (_, k) => {
      const row = seconds?.get(until - SPAN + 1 + k);
      return row ? line.of(row) : idle;
    });
  });
  const at = pointed === null ? SPAN - 1 : Math.max(SPAN - 1 - pointed, 0);
  const values = series.map((each) => each[at]);
  return h("figure", { class: "card chart", key: name, style: { margin: "0" } },
    h("header", {}, h("h2", {}, label), h("span", { class: "pale small push" }, pointed === null ? "last 5 min" : `${pointed} s ago`)),
    sized(name, height, (width) => plot({ width, height, series, lines, show, label, draw })),
    h("ul", { class: "legend" }, lines.map((line, k) =>
      h("li", { style: { "--tint": line.tint } }, h("i", { class: line.thin ? "thin" : "" }), line.name, h("b", {}, show(values[k]))))));
}

function plot({ width, height, series, lines, show, label, draw }) {
  const most = Math.max(0, ...series.flat().filter((value) => value !== null));
  const marks = ticks(most);
  const top = marks.at(-1);
  const x = (k) => LEFT + ((width - LEFT - RIGHT) * k) / (SPAN - 1);
  const y = (value) => height - BOTTOM - ((height - TOP - BOTTOM) * value) / top;
  const minutes = width < 420 ? [5, 3, 1] : [5, 4, 3, 2, 1];
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (width - LEFT - RIGHT);
    pointed = share < 0 || share > 1 ? null : Math.round((1 - share) * (SPAN - 1));
    draw();
  };
  const leave = () => { pointed = null; draw(); };
  return h("svg", { width, height, role: "img", "aria-label": `${label} over the last five minutes`, onpointermove: point, onpointerleave: leave },
    marks.map((value) => [
      h("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: Math.round(y(value)), y2: Math.round(y(value)) }),
      h("text", { x: LEFT - 8, y: Math.round(y(value)) + 4, "text-anchor": "end" }, mark(show(value))),
    ]),
    minutes.map((minute) => h("text", { x: x(SPAN - 1 - Math.min(minute * 60, SPAN - 1)), y: height - 6, "text-anchor": minute === 5 ? "start" : "middle" }, `−${minute} min`)),
    h("text", { x: width - RIGHT, y: height - 6, "text-anchor": "end" }, "now"),
    lines.map((line, k) => {
      const drawn = path(series[k], x, y);
      return [
        line.area ? h("path", { class: "area", d: `${drawn}L${x(SPAN - 1)},${y(0)}L${x(0)},${y(0)}Z`, fill: line.tint }) : null,
        h("path", { class: line.thin ? "line thin" : "line", d: drawn || "M0,0", stroke: line.tint }),
      ];
    }),
    pointed === null ? null : h("line", { class: "aim", x1: x(SPAN - 1 - pointed), x2: x(SPAN - 1 - pointed), y1: TOP, y2: height - BOTTOM }));
}

// A line with gaps where nothing was measured; a lone value is drawn as a short stroke.
function path(values, x, y) {
  let text = "";
  let open = false;
  values.forEach((value, k) => {
    if (value === null || value === undefined) {
      open = false;
      return;
    }
    text += `${open ? "L" : "M"}${x(k).toFixed(1)},${y(value).toFixed(1)}`;
    if (!open && (values[k + 1] === null || values[k + 1] === undefined)) text += "h1";
    open = true;
  });
  return text;
}
