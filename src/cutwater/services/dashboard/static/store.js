// What is known of the cluster: everything first, then what changes, as the gateway sends it.

const QUIET = 12000; // milliseconds without a word after which the line is taken to be dead
const SPAN = 300; // seconds that charts show
const NOTES = 300;

export const known = {
  gateway: "",
  line: "connecting", // "connecting", "live", "lost"
  since: Date.now(),
  things: new Map(), // "node/pi-a" -> what is known of it
  notes: [],
  seconds: new Map(), // model -> Map(second -> [at, answered, failed, refused, p50, p99])
  skew: 0, // seconds by which the gateway's clock is ahead of this one's
};

let told = () => {};

export function all(kind) {
  const found = [];
  for (const [key, value] of known.things) if (key.startsWith(`${kind}/`)) found.push(value);
  return found;
}

export function one(key) {
  return known.things.get(key);
}

export function now() {
  return Date.now() / 1000 + known.skew;
}

export function onChange(listener) {
  told = listener;
}

// Ask this gateway; `send` is sent as JSON, or as it is where it is a form. Throws with the gateway's own words.
export async function ask(path, send) {
  const options = {};
  if (send instanceof FormData) Object.assign(options, { method: "POST", body: send });
  else if (send !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(send), headers: { "content-type": "application/json" } });
  }
  const answer = await fetch(path, options);
  const text = await answer.text();
  let data = {};
  try {
    data = JSON.parse(text);
  } catch {
    data = { error: text.slice(0, 200) || answer.statusText };
  }
  if (!answer.ok) throw new Error(data.error ?? data.detail ?? answer.statusText);
  return data;
}

export async function follow() {
  for (let pause = 250; ; pause = Math.min(pause * 2, 4000)) {
    try {
      await listen(() => (pause = 250));
    } catch (error) {
      if (error.name !== "AbortError" && error.name !== "TypeError") console.warn(String(error));
    }
    stand("lost");
    await new Promise((done) => setTimeout(done, pause));
  }
}

async function listen(alive) {
  const ending = new AbortController();
  let watch = setTimeout(() => ending.abort(), QUIET);
  try {
    const answer = await fetch("/ui/events", { signal: ending.signal, cache: "no-store" });
    if (!answer.ok) throw new Error(`the gateway answers ${answer.status}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return undefined;
      clearTimeout(watch);
      watch = setTimeout(() => ending.abort(), QUIET);
      alive();
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      for (const part of parts) hear(part);
      if (parts.length) told();
    }
  } finally {
    clearTimeout(watch);
  }
}

function stand(line) {
  if (known.line !== line) {
    known.line = line;
    known.since = Date.now();
    told();
  }
}

function hear(part) {
  const kind = part.match(/^event: (.+)$/m)?.[1];
  const data = part.match(/^data: (.+)$/m)?.[1];
  stand("live");
  if (kind && data) HEARD[kind]?.(JSON.parse(data));
}

const HEARD = {
  everything(data) {
    known.gateway = data.gateway;
    known.things = new Map(Object.entries(data.set));
    known.notes = data.notes.toReversed();
    known.seconds = new Map();
    known.skew = data.now - Date.now() / 1000;
    HEARD.seconds(data.seconds);
  },
  change(data) {
    for (const key of data.gone ?? []) known.things.delete(key);
    for (const [key, value] of Object.entries(data.set ?? {})) known.things.set(key, value);
  },
  note(note) {
    known.notes = [note, ...known.notes].slice(0, NOTES);
  },
  seconds(rows) {
    const oldest = now() - SPAN - 5;
    for (const [model, each] of Object.entries(rows)) {
      const seconds = known.seconds.get(model) ?? new Map();
      for (const row of each) seconds.set(row[0], row);
      for (const at of seconds.keys()) if (at < oldest) seconds.delete(at);
      known.seconds.set(model, seconds);
    }
  },
};

// The last `span` whole seconds of all models together, or of one.
export function lately(span, model) {
  const until = Math.floor(now()) - 1;
  const found = { answered: 0, failed: 0, refused: 0, p50: 0, p99: 0 };
  for (const [name, seconds] of known.seconds) {
    if (model && name !== model) continue;
    for (let at = until - span + 1; at <= until; at++) {
      const row = seconds.get(at);
      if (!row) continue;
      found.p50 = (found.p50 * found.answered + (row[4] ?? 0) * row[1]) / Math.max(found.answered + row[1], 1);
      found.p99 = Math.max(found.p99, row[5] ?? 0);
      found.answered += row[1];
      found.failed += row[2];
      found.refused += row[3];
    }
  }
  return found;
}
