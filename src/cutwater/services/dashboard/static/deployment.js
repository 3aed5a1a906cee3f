// A deployment as the chain of stages on its nodes: what flows, what waits, what was predicted and what is measured.

import { colour, onColour } from "./chart.js";
import { h } from "./dom.js";
import { bytes, digits, percent, plural, rate, seconds } from "./format.js";
import { icon } from "./icons.js";
import { all, one } from "./store.js";

const STATES = {
  live: ["good", "good"], "rolling out": ["swap", "warn"], starting: ["swap", "warn"], planning: ["events", "warn"],
  degraded: ["warn", "bad"], parked: ["down", "idle"], going: ["down", "idle"],
};

export function deployment(each) {
  const live = each.epochs.find((epoch) => epoch.phase === "live") ?? each.epochs.at(-1);
  const [sign, tone] = STATES[each.state] ?? ["dot", "idle"];
  return h("section", { class: "card deployment", key: each.model, "aria-label": `Deployment of ${each.model}` },
    h("header", {}, h("h2", {}, each.model), h("span", { class: `tag ${tone}` }, icon(sign), each.state),
      live ? h("span", { class: "pale small" }, `epoch ${live.epoch}, for ${each.objective}; ${live.why}`) : null,
      h("a", { class: "push small", href: `#/models/${encodeURIComponent(each.model)}` }, "What if …")),
    each.problem ? h("p", { class: "note-line bad" }, icon("bad"), each.problem) : null,
    others(each, live),
    live ? [facts(each, live), live.chains.map((chain, k) => stages(each, live, chain, k))] : null,
    each.bottleneck ? h("p", { class: "note-line" }, icon("warn"), h("span", {}, h("strong", {}, "Bottleneck: "), `${each.bottleneck}.`)) : null,
    live ? spent(live) : null);
}

function others(each, live) {
  return each.epochs.filter((epoch) => epoch !== live).map((epoch) => {
    const workers = epoch.chains.flatMap((chain) => chain.stages.flatMap((stage) => stage.workers));
    const ready = workers.filter((worker) => worker.phase === "ready").length;
    return h("p", { class: "note-line", key: `epoch${epoch.epoch}` }, icon("swap"), h("span", {}, h("strong", {}, `Epoch ${epoch.epoch} ${epoch.phase}: `), `${ready} of ${plural(workers.length, "worker")} ready; ${epoch.why}`));
  });
}

function facts(each, live) {
  const gateways = all("gateway").map((gateway) => gateway.models[each.model]).filter(Boolean);
  const sum = (name) => gateways.reduce((total, tally) => total + tally[name], 0);
  const degraded = sum("degraded");
  return h("dl", { class: "facts" },
    fact("Answers", rate(each.rate), `${rate(live.throughput)} possible`),
    fact("Latency, p50", each.p50 ? seconds(each.p50) : "–", `${seconds(live.latency)} for one alone`),
    fact("Latency, p99", each.p99 ? seconds(each.p99) : "–", "of the slowest gateway"),
    fact("Under way", sum("flying"), `${sum("queued")} wait at the gateway`),
    fact("Failed", sum("failed"), `${sum("retried")} tried again${degraded ? `, ${degraded} degraded` : ""}`));
}

const ROOM = { ends: 400, stage: 290 }; // pixels of a window that a chain needs to lie

function fact(name, value, note) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd", { class: "pale small" }, note));
}

function stages(each, live, chain, number) {
  const longest = Math.max(...chain.stages.flatMap((stage) => stage.workers.flatMap((worker) => [worker.predicted, worker.measured ?? 0])));
  const parts = [end("Gateway", "requests come in")];
  chain.stages.forEach((stage, k) => {
    parts.push(hop(each, live, chain, k), block(stage, longest));
  });
  parts.push(hop(each, live, chain, chain.stages.length), end("Gateway", "answers go out"));
  const title = live.chains.length > 1 ? h("h3", { class: "pale" }, `Chain ${number + 1}`) : null;
  const down = innerWidth < Math.max(980, ROOM.ends + ROOM.stage * chain.stages.length);
  return [title, h("div", { class: down ? "chain down" : "chain", role: "list", key: `chain${number}` }, parts)];
}

function end(name, note) {
  return h("div", { class: "end", role: "listitem" }, icon("gateway"), h("strong", {}, name), h("span", { class: "pale small" }, note));
}

function hop(each, live, chain, k) {
  const planned = chain.hops[k];
  const measured = live.phases[k]?.[0];
  const flowing = each.rate > 0.05;
  const back = k === chain.stages.length;
  const size = planned?.nbytes ? `${bytes(planned.nbytes)}${planned.codec === "raw" ? "" : ` ${planned.codec}`}` : "answer";
  // One turn of the animation for each request, as far as eyes can follow.
  const style = { "--turn": `${Math.max(0.25, Math.min(2.5, 8 / Math.max(each.rate, 0.1))).toFixed(2)}s` };
  const said = measured ? seconds(measured) : planned?.predicted ? seconds(planned.predicted) : "";
  return h("div", { class: "hop", role: "listitem", "aria-label": `${back ? "Back" : "Hop"}: ${size}, ${rate(each.rate)}${said ? `, ${said}` : ""}` },
    h("span", { class: "small" }, size), h("span", { class: flowing ? "flow on" : "flow", style }),
    h("span", { class: "small pale", title: measured ? "measured, from handing over to the last byte" : "predicted, on the wire" }, said ? `${said}${measured ? "" : " pred."}` : "–"));
}

function block(stage, longest) {
  return h("div", { class: "stage", role: "listitem", style: { "--tint": colour(stage.stage) } },
    h("div", { class: "row" }, h("h3", {}, `Stage ${stage.stage + 1}`), h("span", { class: "small pale ends", title: `${stage.begin} … ${stage.end}` }, `${stage.begin} → ${stage.end}`)),
    stage.workers.map((worker) => workerRow(worker, longest)));
}

function workerRow(worker, longest) {
  const lost = one(`node/${worker.node}`)?.state === "lost";
  const ready = worker.phase === "ready" && !lost;
  const phase = lost ? "node lost" : worker.phase;
  const part = (value) => ({ "--part": `${((value ?? 0) / longest) * 100}%` });
  return h("div", { class: `worker ${ready ? "" : "off"}`, key: worker.name },
    h("div", { class: "row" }, h("strong", {}, worker.node), worker.spare ? h("span", { class: "tag idle" }, "spare") : null,
      ready ? null : h("span", { class: "tag bad" }, icon(lost ? "bad" : "warn"), phase)),
    h("div", { class: "pair" },
      h("span", {}, "measured"), h("span", { class: "bar" }, h("i", { style: part(worker.measured) })), h("b", {}, worker.measured ? seconds(worker.measured) : "–"),
      h("span", {}, "predicted"), h("span", { class: "bar ghost" }, h("i", { style: part(worker.predicted) })), h("span", {}, seconds(worker.predicted))),
    h("p", { class: "small pale" }, `${percent(worker.busy ?? 0)} busy, queue ${worker.queued ?? 0}, served ${worker.served ?? 0}${worker.restarts ? `, restarted ${worker.restarts} times` : ""}`),
    worker.fault ? h("p", { class: "small fault" }, worker.fault) : null);
}

const KINDS = [["hop", "hop", "--hop"], ["queue", "waiting", "--queue"], ["decode", "decoding", "--code"], ["compute", "computing", ""], ["encode", "encoding", "--code"]];

const WAIT = ["queue", "waiting", "--queue"];

// Where a request's time goes, in the mean of the last seconds: hop, waiting, decoding, computing, encoding per stage.
function spent(live) {
  const phases = live.phases;
  const total = live.wait + phases.flat().reduce((sum, value) => sum + value, 0);
  if (!total) return null;
  const work = phases.flatMap((phase, stage) => phase.map((value, k) => [KINDS[k], stage, value]));
  const pieces = [[WAIT, -1, live.wait], ...work].filter(([, , value]) => value / total > 0.002);
  return h("div", { class: "spent" },
    h("h3", {}, `Where a request's time goes: ${seconds(total)}`, h("span", { class: "pale small" }, " mean of the last 10 s")),
    h("div", { class: "stack", role: "img", "aria-label": pieces.map(([kind, stage, value]) => `${kind[1]} ${stage + 1}: ${seconds(value)}`).join(", ") },
      pieces.map(([kind, stage, value]) => h("i", {
        title: `${place(stage, phases.length)}, ${kind[1]}: ${seconds(value)}`,
        style: { "--part": `${(value / total) * 100}%`, "--tint": kind[2] ? `var(${kind[2]})` : colour(stage), "--on-tint": kind[2] ? "#10151a" : onColour(stage) },
      }, value / total > 0.06 ? h("span", {}, seconds(value)) : null))),
    h("ul", { class: "legend" }, legend(phases.length)));
}

function place(stage, count) {
  return stage < 0 ? "gateway" : stage === count - 1 ? "way back" : `stage ${stage + 1}`;
}

function legend(count) {
  const box = (tint, name) => h("li", { style: { "--tint": tint } }, h("i", { class: "box" }), name);
  return [...Array.from({ length: count - 1 }, (_, k) => box(colour(k), `computing, stage ${k + 1}`)), box("var(--hop)", "hops"), box("var(--queue)", "waiting"), box("var(--code)", "decoding, encoding")];
}
