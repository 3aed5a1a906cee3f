// Events: who joined, who was lost, what was planned again and why.

import { h } from "./dom.js";
import { icon as draw } from "./icons.js";
import { known } from "./store.js";

export const title = "Events";
export const icon = "events";

const LOOKS = {
  joined: ["good", "good"], well: ["good", "good"], "rolled-out": ["good", "good"], unparked: ["good", "good"],
  lost: ["bad", "bad"], failing: ["bad", "bad"], unplanned: ["bad", "bad"], refused: ["bad", "bad"],
  replanned: ["swap", "good"], "rolling-out": ["swap", ""], "rolled-back": ["swap", "warn"], postponed: ["swap", ""],
  slow: ["warn", "warn"], unproven: ["warn", "warn"], drained: ["down", ""], parked: ["down", ""],
  "scaled-up": ["good", "good"], "scaled-down": ["down", ""], shared: ["swap", ""], short: ["warn", "warn"], mended: ["warn", "warn"],
};

export function view() {
  return h("section", { class: "card", role: "log", "aria-label": "Events" }, feed(known.notes));
}

export function feed(notes) {
  if (!notes.length) return h("p", { class: "pale" }, "Nothing has happened since this gateway started.");
  return h("ol", { class: "feed" }, notes.map((note) => {
    const [sign, tone] = LOOKS[note.kind] ?? ["dot", ""];
    const at = new Date(note.at);
    return h("li", { key: `${note.at}${note.kind}${note.about}`, class: tone }, draw(sign),
      h("time", { datetime: note.at, title: at.toLocaleString() }, at.toLocaleTimeString([], { hour12: false })),
      h("p", {}, h("strong", {}, `${note.about} ${note.kind.replaceAll("-", " ")}`), note.text ? h("span", { class: "pale" }, ` – ${note.text}`) : null));
  }));
}
