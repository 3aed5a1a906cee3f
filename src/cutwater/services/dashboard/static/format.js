// Numbers as people read them, each with its unit.

const DIGITS = 3;

export function digits(value, most = DIGITS) {
  if (Number.isInteger(value)) return String(value);
  const places = Math.max(most - 1 - Math.floor(Math.log10(Math.abs(value))), 0);
  return value.toFixed(Math.min(places, 6));
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 ms";
  const size = Math.abs(value);
  if (size < 0.9995e-3) return `${digits(value * 1e6)} µs`;
  if (size < 0.9995) return `${digits(value * 1e3)} ms`;
  if (size < 120) return `${digits(value)} s`;
  return size < 7200 ? `${Math.round(value / 60)} min` : `${digits(value / 3600)} h`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= size * 0.9995) return `${digits(value / size)} ${unit}`;
  }
  return `${Math.round(value)} B`;
}

export function rate(value) {
  return value === null || value === undefined ? "–" : `${digits(value)}/s`;
}

export function bits(perSecond) {
  for (const [unit, size] of [["Gbit/s", 1e9], ["Mbit/s", 1e6], ["kbit/s", 1e3]]) {
    if (perSecond * 8 >= size) return `${digits((perSecond * 8) / size)} ${unit}`;
  }
  return `${digits(perSecond * 8)} bit/s`;
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

export function clock(unix) {
  return new Date(unix * 1000).toLocaleTimeString([], { hour12: false });
}

export function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
