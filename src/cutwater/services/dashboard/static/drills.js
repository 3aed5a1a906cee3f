// Drills: let something go wrong on purpose, and watch the cluster take it.

import { chart, colour } from "./chart.js";
import { confirmed } from "./confirm.js";
import { h } from "./dom.js";
import { feed } from "./events.js";
import { rate, seconds } from "./format.js";
import { icon as sign } from "./icons.js";
import { all, ask, known, one } from "./store.js";

export const title = "Drills";
export const icon = "drills";

const SAYS = {
  kill: ["Kill", "drills", "SIGKILL ends this worker at once. Its requests go elsewhere or are tried again, and its node starts it anew."],
  hang: ["Hang", "hang", "SIGSTOP stops this worker and everything in it. It looks alive until somebody waits for it; SIGCONT lets it go on after"],
};
let said = "";
let failed = "";

export function view(draw) {
  const allowed = one("drills")?.allowed;
  return [
    allowed ? null : h("p", { class: "note-line" }, sign("warn"), h("span", {}, "Drills are switched off at this gateway. On a machine of your own, ", h("code", {}, "cutwater up --gateway-drills on"), " allows them; workers of other machines are never touched.")),
    h("div", { role: "status", class: said || failed ? "note-line" : "hidden" }, sign(failed ? "bad" : "good"), failed || said),
    workers(draw),
    h("section", { class: "grid2" }, all("deployment").slice(0, 1).map((each) => chart({
      name: "drill", label: `${each.model}: answers per second`, idle: 0, show: rate, draw,
      lines: [{ name: "answered", model: each.model, tint: colour(0), area: true, of: (row) => row[1] }, { name: "failed", model: each.model, tint: "var(--bad)", of: (row) => row[2] }],
    })), h("section", { class: "card", "aria-label": "Latest events" }, h("header", {}, h("h2", {}, "What the cluster says")), feed(known.notes.slice(0, 6)))),
  ];
}

function workers(draw) {
  const reachable = new Set(one("drills")?.workers ?? []);
  const rows = all("deployment").flatMap((each) => each.epochs.flatMap((epoch) => epoch.chains.flatMap((chain) =>
    chain.stages.flatMap((stage) => stage.workers.map((worker) => row(each, stage, worker, reachable.has(worker.name), draw))))));
  if (!rows.length) return h("p", { class: "empty" }, "Nothing is deployed, so there is nothing to break.");
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "Workers")),
    h("ul", { class: "targets" }, rows));
}

function row(each, stage, worker, reachable, draw) {
  const kinds = one("drills")?.kinds ?? [];
  return h("li", { key: worker.name },
    h("span", {}, h("strong", {}, `${each.model}, stage ${stage.stage + 1}`), h("span", { class: "pale" }, ` on ${worker.node}, ${worker.phase}`)),
    h("span", { class: "row" }, kinds.map((kind) => {
      const [name, mark, text] = SAYS[kind];
      const press = async () => {
        const more = kind === "hang" ? ` ${seconds(one("drills").hang)}.` : "";
        if (await confirmed({ title: `${name} stage ${stage.stage + 1} on ${worker.node}?`, text: text + more, act: `${name} it`, grave: true })) await run(kind, worker.name, draw);
      };
      return h("button", { class: "grave", disabled: !reachable, onclick: press, "aria-label": `${name} stage ${stage.stage + 1} on ${worker.node}` }, sign(mark), name);
    })));
}

async function run(kind, worker, draw) {
  said = failed = "";
  try {
    said = (await ask("/ui/drills", { kind, worker })).done;
  } catch (error) {
    failed = error.message;
  }
  draw();
}
