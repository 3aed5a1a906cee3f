// Overview: how the cluster does, each deployment as a chain of stages, and the last five minutes.

import { chart, colour } from "./chart.js";
import { deployment } from "./deployment.js";
import { h } from "./dom.js";
import { feed } from "./events.js";
import { digits, plural, rate, seconds } from "./format.js";
import { all, known, lately } from "./store.js";

export const title = "Overview";
export const icon = "overview";

export function view(draw) {
  const deployments = all("deployment");
  const chains = deployments.length
    ? deployments.map((each) => deployment(each, draw))
    : h("p", { class: "empty" }, "Nothing is deployed. ", h("a", { href: "#/models" }, "Choose a model"), " and deploy it, or run ", h("code", {}, "cutwater deploy MODEL"), ".");
  return [figures(), chains, charts(draw), latest()];
}

function figures() {
  const [soon, long, nodes] = [lately(5), lately(300), all("node")];
  const alive = nodes.filter((node) => node.state !== "lost").length;
  const errors = long.failed + long.refused;
  return h("section", { class: "figures", "aria-label": "Key figures" },
    figure("Requests answered", digits(soon.answered / 5), "/s", "mean of 5 s, at this gateway"),
    figure("Latency", soon.answered ? seconds(soon.p50) : "–", "", soon.answered ? `p50; p99 ${seconds(soon.p99)}` : "no requests in the last 5 s"),
    figure("Errors", errors, "", errors ? `of the last 5 min: ${long.failed} failed, ${long.refused} refused` : "none in the last 5 min"),
    figure("Nodes", alive, ` of ${nodes.length}`, alive === nodes.length ? "all are here" : `${plural(nodes.length - alive, "node")} lost`));
}

function figure(name, value, unit, note) {
  return h("div", { class: "card figure" }, h("span", { class: "name" }, name), h("b", {}, value, h("small", {}, unit)), h("p", { class: "note" }, note));
}

function charts(draw) {
  const models = [...new Set([...all("deployment").map((each) => each.model), ...known.seconds.keys()])].sort();
  const lines = (parts) => models.flatMap((model, k) => parts.map((part) => ({ ...part, name: `${models.length > 1 ? `${model} ` : ""}${part.name}`, model, tint: part.tint ?? colour(k) })));
  const count = (value) => (value === null ? "–" : digits(value));
  return h("section", { class: "grid3", "aria-label": "The last five minutes" },
    chart({ name: "throughput", label: "Answers per second", lines: lines([{ name: "answered", area: true, of: (row) => row[1] }]), idle: 0, show: rate, draw }),
    chart({ name: "latency", label: "Latency", lines: lines([{ name: "p50", of: (row) => row[4] }, { name: "p99", thin: true, of: (row) => row[5] }]), idle: null, show: seconds, draw }),
    chart({ name: "errors", label: "Errors per second", lines: lines([{ name: "failed", tint: "var(--bad)", area: true, of: (row) => row[2] }, { name: "refused", tint: "var(--warn)", thin: true, of: (row) => row[3] }]), idle: 0, show: count, draw }));
}

function latest() {
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, "What happened last"), h("a", { class: "push small", href: "#/events" }, "All events")), feed(known.notes.slice(0, 5)));
}
