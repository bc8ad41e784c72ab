// The feed of state transitions as they happen, newest first.

import { byId, clock, element } from "./text.js";

const SHOWN = 300;
let openBlob = () => {};
let waiting = [];

export function whenChosen(callback) { openBlob = callback; }

export function begin(entries) {
  byId("feed").replaceChildren();
  waiting = [];
  add(entries, false);
}

export function add(entries, isNew = true) {
  if (byId("feed-pause").checked) {
    waiting = [...waiting, ...entries].slice(-SHOWN);
    return;
  }
  const list = byId("feed");
  const made = entries.slice(-SHOWN).reverse().map((entry) => item(entry, isNew));
  list.prepend(...made);
  while (list.children.length > SHOWN) list.lastChild.remove();
}

function item(entry, isNew) {
  const name = entry.location ?? `blob ${entry.id}`;
  return element("li", isNew ? { class: "new" } : {},
    element("time", { datetime: entry.time }, clock(entry.time)),
    element("span", { class: `state ${entry.state}` }, entry.state),
    element("button", { type: "button", class: "link", title: `id ${entry.id}`, onclick: () => openBlob(entry.id, entry.location) }, name),
    element("span", { class: "text" }, `${entry.text} · id ${entry.id}`));
}

byId("feed-pause").addEventListener("change", () => {
  const held = waiting;
  waiting = [];
  if (!byId("feed-pause").checked) add(held);
});
