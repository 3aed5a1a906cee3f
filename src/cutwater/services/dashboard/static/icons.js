// Small drawings, each always beside a word.

import { h } from "./dom.js";

const PATHS = {
  overview: "M3 12h4l3-8 4 16 3-8h4",
  fleet: "M4 5h16v6H4zM4 14h16v6H4zM8 8h.01M8 17h.01",
  requests: "M4 6h10M4 12h16M8 18h12",
  models: "M4 7l8-4 8 4-8 4zM4 12l8 4 8-4M4 17l8 4 8-4",
  try: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  events: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18",
  drills: "M13 3L5 14h6l-1 7 8-11h-6z",
  good: "M5 13l4 4L19 7",
  bad: "M6 6l12 12M18 6L6 18",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
  dot: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8",
  down: "M12 5v14M6 13l6 6 6-6",
  gateway: "M5 21V4h14v17M3 21h18M15 12h.01",
  swap: "M4 8h14l-4-4M20 16H6l4 4",
  hang: "M8 5v14M16 5v14",
};

export function icon(name) {
  return h("svg", { class: `icon ${name}`, viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: PATHS[name] }));
}
