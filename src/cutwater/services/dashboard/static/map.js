// The fleet as a map: a box for each machine with its nodes, lines for measured links, streams for what is deployed.

import { colour } from "./chart.js";
import { h } from "./dom.js";
import { bits, percent, seconds } from "./format.js";
import { all } from "./store.js";

const CHIP = { width: 118, height: 46, gap: 12 };
const APART = 56; // between chips of a machine that is alone
const LABELS = 6; // machines up to which links are labelled
const REACH = 400; // most pixels from the middle

export function map(width, height) {
  const hosts = Map.groupBy(all("node"), (node) => node.host);
  for (const gateway of all("gateway")) if (!hosts.has(gateway.host)) hosts.set(gateway.host, []);
  const boxes = place([...hosts], width, height);
  const spots = new Map();
  for (const box of boxes) for (const chip of box.chips) spots.set(chip.name, chip);
  return h("svg", { width, height, role: "img", "aria-label": `${hosts.size} machines with ${all("node").length} nodes`, class: "map" },
    lines(boxes, width > 560 && boxes.length <= LABELS),
    boxes.map((box) => h("rect", { class: "host", x: box.x, y: box.y, width: box.width, height: box.height, rx: 14 })),
    streams(spots),
    boxes.flatMap((box) => box.chips.map(chipOf)));
}

function place(hosts, width, height) {
  const alone = hosts.length === 1;
  return hosts.map(([host, nodes], k) => {
    const gateways = all("gateway").filter((gateway) => gateway.host === host).map((gateway) => ({ ...gateway, door: true }));
    const inside = [...gateways, ...nodes];
    const gap = alone && width > 600 ? APART : CHIP.gap;
    const across = alone ? Math.max(1, Math.min(inside.length, Math.floor((width - 40) / (CHIP.width + gap)))) : Math.min(inside.length, width > 900 && inside.length > 2 ? 2 : 1);
    const down = Math.ceil(inside.length / across);
    const size = { width: across * (CHIP.width + gap) + 2 * CHIP.gap - gap, height: down * (CHIP.height + CHIP.gap) + CHIP.gap };
    const angle = Math.PI + (2 * Math.PI * k) / hosts.length;
    const spread = Math.min((width - size.width) / 2 - 2, REACH);
    const x = (width - size.width) / 2 + (alone ? 0 : Math.cos(angle) * spread);
    const y = alone ? (height - size.height) / 2 : (height - size.height) / 2 + Math.sin(angle) * ((height - size.height) / 2 - 2);
    const chips = inside.map((node, n) => ({
      node, name: node.door ? `gateway@${node.node}` : node.name,
      x: x + CHIP.gap + (n % across) * (CHIP.width + gap), y: y + CHIP.gap + Math.floor(n / across) * (CHIP.height + CHIP.gap),
    }));
    return { host, x, y, ...size, chips, names: new Set(nodes.map((node) => node.name)) };
  });
}

function chipOf({ node, x, y }) {
  const tone = node.state === "lost" ? "bad" : node.state === "silent" ? "warn" : "";
  const text = node.door ? "gateway" : node.state === "alive" ? `${percent(node.cpu)} CPU` : node.state;
  return h("g", { class: `chip ${tone} ${node.door ? "door" : ""}`, key: `chip${node.name}` },
    h("rect", { x, y, width: CHIP.width, height: CHIP.height, rx: 9 }),
    node.door ? null : h("rect", { class: "load", x, y: y + CHIP.height - 4, width: Math.max(node.state === "lost" ? 0 : CHIP.width * node.cpu, 0), height: 4, rx: 2 }),
    h("text", { x: x + CHIP.width / 2, y: y + 20, "text-anchor": "middle", class: "name" }, node.name.slice(0, 16)),
    h("text", { x: x + CHIP.width / 2, y: y + 35, "text-anchor": "middle" }, tone === "bad" ? "✕ lost" : text));
}

// One line for each pair of machines, with the figures of one direction.
function lines(boxes, labelled) {
  const found = [];
  for (const link of all("link")) {
    const [a, b] = [link.source, link.target].map((name) => boxes.find((box) => box.names.has(name)));
    if (!a || !b || a === b || found.some((line) => line.pair.has(a) && line.pair.has(b))) continue;
    found.push({ pair: new Set([a, b]), link, from: middle(a), to: middle(b) });
  }
  return found.map(({ link, from, to }) => h("g", { class: "link" },
    h("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], "stroke-width": Math.max(1, Math.log10(link.bandwidth) - 4) }),
    !labelled ? null : h("text", { x: from[0] + (to[0] - from[0]) * 0.4, y: from[1] + (to[1] - from[1]) * 0.4 - 6, "text-anchor": "middle" }, `${bits(link.bandwidth)}, ${seconds(link.latency)}`)));
}

function streams(spots) {
  return all("deployment").flatMap((each, k, deployments) => {
    const lane = (k - (deployments.length - 1) / 2) * 9; // beside each other, not on top
    const live = each.epochs.find((epoch) => epoch.phase === "live");
    return (live?.chains ?? []).flatMap((chain) => chain.hops.map((hop, n) => {
      const [from, to] = [spots.get(hop.source), spots.get(hop.target)];
      if (!from || !to || from === to || n === chain.hops.length - 1) return null;
      const [a, b] = [center(from), center(to)];
      const level = a[1] === b[1];
      const beside = level && Math.abs(a[0] - b[0]) < 2 * CHIP.width;
      const d = level && !beside ? `M${a}C${a[0]},${a[1] - 70 + lane} ${b[0]},${b[1] - 70 + lane} ${b}` : `M${a[0]},${a[1] + lane}L${b[0]},${b[1] + lane}`;
      return h("path", { class: each.rate > 0.05 ? "stream on" : "stream", d, stroke: colour(k) });
    }));
  });
}

function middle(box) {
  return [box.x + box.width / 2, box.y + box.height / 2];
}

function center(chip) {
  return [chip.x + CHIP.width / 2, chip.y + CHIP.height / 2];
}
