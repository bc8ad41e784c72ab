// What happens to blobs as it happens, newest first: one line an event, in words that alarm only where they should.

import { blobHref, idHref } from "./routes.js";
import { byId, clock, element } from "./text.js";

const SHOWN = 300;
const KNOWN = 3000; // locations and ids that are remembered; of older ones only the words are less exact
const GOOD = "good", CALM = "calm", BAD = "bad";
let waiting = [];
// What was seen of blobs whose story is not at its end: by id, whether they replace another one.
const begun = new Map();
// The id that a location has now: the end of another one there was a replacement, not a deletion.
const current = new Map();

export function begin(entries) {
  byId("feed").replaceChildren();
  begun.clear();
  current.clear();
  waiting = [];
  add(entries, false);
}

export function add(entries, isNew = true) {
  const lines = entries.map(lineOf).filter(Boolean);
  if (byId("feed-pause").checked) waiting = [...waiting, ...lines].slice(-SHOWN);
  else show(lines, isNew);
}

function show(lines, isNew) {
  const list = byId("feed");
  list.prepend(...lines.slice(-SHOWN).reverse().map((line) => item(line, isNew)));
  while (list.children.length > SHOWN) list.lastChild.remove();
}

// The line of one transition; null for a step on the way. The texts are those of the original server.
function lineOf(entry) {
  const { id, location, state, text } = entry;
  if (text === "Blob Created & Saved!" || text === "Blob Updated & Saved!") {
    remember(begun, id, text.includes("Updated"));
    return null;
  }
  if (state === "Pending") return null;
  if (state === "OK") {
    const word = begun.get(id) === undefined ? "Stored" : begun.get(id) ? "Replaced" : "Created";
    begun.delete(id);
    remember(current, location, id);
    return { entry, word, look: GOOD, text: "" };
  }
  if (state === "Removed") return { entry, word: "Freed", look: CALM, text: text.replace(/ freed$/, "") };
  if (state === "Damaged") return { entry, word: "Damaged", look: BAD, text };
  begun.delete(id);
  if (text.startsWith("Deleted!")) {
    if (text.includes("Replaced by") || (current.has(location) && current.get(location) !== id)) return null; // told as one
    current.delete(location);
    return { entry, word: "Deleted", look: CALM, text: "" };
  }
  if (text.startsWith("Superseded")) return { entry, word: "Superseded", look: CALM, text: "" };
  const word = text.includes("Pending state") ? "Interrupted" : "Failed";
  return { entry, word, look: BAD, text: text.replace(/^(Upload|Commit) failed[:,]?\s*(- Deleting!)?\s*/, "") };
}

function remember(known, key, value) {
  known.delete(key);
  known.set(key, value);
  if (known.size > KNOWN) known.delete(known.keys().next().value);
}

function item({ entry, word, look, text }, isNew) {
  const { id, location } = entry;
  const href = word === "Created" || word === "Replaced" || word === "Stored" ? blobHref(location) : idHref(id);
  return element("li", isNew ? { class: "new" } : {},
    element("time", { datetime: entry.time }, clock(entry.time)),
    element("span", { class: `word ${look}` }, word),
    element("a", { href, title: `id ${id}` }, location ?? `blob ${id}`),
    ...(text ? [element("span", { class: "text" }, text)] : []));
}

byId("feed-pause").addEventListener("change", () => {
  const held = waiting;
  waiting = [];
  if (!byId("feed-pause").checked) show(held, true);
});
