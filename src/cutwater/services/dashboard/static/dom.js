// A page as a function of what is known: `h` says what there should be, `render` changes what is different.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "open", "selected"]);

export function h(tag, props, ...children) {
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return { tag, props: props ?? {}, children: kept };
}

export function render(parent, nodes) {
  patchChildren(parent, [nodes].flat(Infinity).filter(Boolean), parent.namespaceURI === SVG);
}

function patchChildren(parent, nodes, inSvg) {
  const keyed = new Map();
  for (const child of parent.childNodes) {
    if (child.made?.props.key !== undefined) keyed.set(child.made.props.key, child);
  }
  nodes.forEach((node, index) => {
    const here = parent.childNodes[index];
    const known = node.props?.key !== undefined ? keyed.get(node.props.key) : here;
    const fits = known && sameKind(known, node);
    const child = fits ? patch(known, node, inSvg) : create(node, inSvg);
    if (child !== here) parent.insertBefore(child, here ?? null);
  });
  while (parent.childNodes.length > nodes.length) parent.lastChild.remove();
}

function sameKind(dom, node) {
  if (typeof node !== "object") return dom.nodeType === Node.TEXT_NODE;
  return dom.made?.tag === node.tag && dom.made.props.key === node.props.key;
}

function create(node, inSvg) {
  if (typeof node !== "object") return document.createTextNode(String(node));
  const svg = inSvg || node.tag === "svg";
  const dom = svg ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
  dom.made = { tag: node.tag, props: {}, children: [] };
  patch(dom, node, svg);
  node.props.ref?.(dom);
  return dom;
}

function patch(dom, node, inSvg) {
  if (typeof node !== "object") {
    if (dom.data !== String(node)) dom.data = String(node);
    return dom;
  }
  const before = dom.made.props;
  patchChildren(dom, node.children, inSvg || node.tag === "svg");
  for (const name of Object.keys(before)) if (!(name in node.props)) set(dom, name, null, before[name]);
  for (const [name, value] of Object.entries(node.props)) set(dom, name, value, before[name]);
  dom.made = node;
  return dom;
}

function set(dom, name, value, before) {
  if (name === "key" || name === "ref") return;
  if (name === "style") {
    for (const [key, each] of Object.entries(value ?? {})) {
      if (before?.[key] !== each) dom.style.setProperty(key, each);
    }
  } else if (name.startsWith("on")) {
    dom[name] = value;
  } else if (PROPERTIES.has(name)) {
    // Only what is new is written: what somebody is typing must stay.
    if (before !== value) dom[name] = value ?? (name === "value" ? "" : false);
  } else if (value === null || value === undefined || value === false) {
    dom.removeAttribute(name);
  } else if (before !== value) {
    dom.setAttribute(name, value === true ? "" : value);
  }
}

// Pictures are drawn as wide as there is room; they are drawn again when that changes.
const widths = new Map();
let redraw = () => {};

export function onResize(told) {
  redraw = told;
}

const watcher = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const width = Math.round(entry.contentRect.width);
    if (width > 0 && widths.get(entry.target.dataset.plot) !== width) {
      widths.set(entry.target.dataset.plot, width);
      redraw();
    }
  }
});

export function sized(name, height, draw) {
  const props = { key: name, class: "plot", "data-plot": name, style: { height: `${height}px` }, ref: (dom) => watcher.observe(dom) };
  return h("div", props, widths.has(name) ? draw(widths.get(name), height) : null);
}
