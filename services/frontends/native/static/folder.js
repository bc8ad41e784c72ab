// A folder, or what begins with a text: folders first, then blobs, in the order that the reader chose.

import { json } from "./api.js";
import { blobHref, folderHref, folderOf } from "./routes.js";
import { may } from "./session.js";
import { byId, bytes, count, element, moment, say } from "./text.js";

const PAGE = 200;
const MOST = 10_000; // the server's own limit for one page
const ORDER = {
  name: (a, b) => (a.location < b.location ? -1 : 1),
  size: (a, b) => a.size - b.size,
  modified: (a, b) => (a.modified < b.modified ? -1 : 1),
};

let prefix = null;
let found = { prefixes: [], blobs: [], next: null };
let sort = { by: "name", down: false };
const selected = new Map(); // by location: the blob as it was listed
const selectedFolders = new Set();
const arrived = new Set(); // locations that were uploaded from this page
let onSelected = () => {};
let onShown = () => {};

export function whenSelected(callback) { onSelected = callback; }
export function whenShown(callback) { onShown = callback; }
export function shownPrefix() { return prefix; }
export function selection() { return { folders: [...selectedFolders], blobs: [...selected.values()] }; }
export function markArrived(location) { arrived.add(location); }

export async function open(asked) {
  if (asked !== prefix) {
    arrived.clear();
    found = { prefixes: [], blobs: [], next: null };
    byId("listing").replaceChildren();
  }
  prefix = asked;
  selected.clear();
  selectedFolders.clear();
  showPath();
  onShown(prefix);
  await load("", Math.max(PAGE, found.prefixes.length + found.blobs.length));
}

// The same again: what is there now, as far as it was shown.
export function refresh() { return prefix === null ? undefined : open(prefix); }

async function load(after, limit) {
  const asked = prefix;
  const query = new URLSearchParams({ prefix, delimiter: "/", limit: String(Math.min(limit, MOST)) });
  if (after) query.set("after", after);
  byId("listing-wrong").hidden = true;
  try {
    const page = await json(`store/?${query}`);
    if (asked !== prefix) return; // another folder was opened meanwhile
    found = after
      ? { prefixes: [...found.prefixes, ...page.prefixes], blobs: [...found.blobs, ...page.blobs], next: page.next } : page;
    show();
  } catch (error) {
    if (asked !== prefix || error.status === 401) return;
    say(byId("listing-wrong"), error.message);
    byId("listing-wrong").hidden = false;
    if (error.status) { // an answer, so what is shown is not for this reader, or is gone
      found = { prefixes: [], blobs: [], next: null };
      show();
    }
  }
}

function show() {
  const way = sort.down ? -1 : 1;
  const folders = [...found.prefixes].sort((a, b) => (sort.by === "name" ? way : 1) * (a < b ? -1 : 1));
  const blobs = [...found.blobs].sort((a, b) => way * ORDER[sort.by](a, b) || ORDER.name(a, b));
  const selectable = may("delete", prefix) || [...folders, ...blobs.map((blob) => blob.location)].some((one) => may("delete", one));
  byId("listing-table").classList.toggle("selectable", selectable);
  byId("listing").replaceChildren(...folders.map(folderRow), ...blobs.map(blobRow));
  const all = folders.length + blobs.length;
  byId("listing-empty").hidden = all > 0 || !byId("listing-wrong").hidden;
  byId("listing-table").hidden = all === 0;
  byId("more").hidden = found.next === null;
  say(byId("listing-note"), found.next === null ? "" : `The first ${count(all)} by name${sort.by === "name" ? "" : ", sorted among themselves"}.`);
  for (const header of document.querySelectorAll("[data-sort]")) {
    const active = header.dataset.sort === sort.by;
    header.closest("th").setAttribute("aria-sort", active ? (sort.down ? "descending" : "ascending") : "none");
  }
  tellSelected();
}

function folderRow(folder) {
  const name = folder.slice(folderOf(prefix).length);
  const box = selector(name, selectedFolders.has(folder), (checked) => (checked ? selectedFolders.add(folder) : selectedFolders.delete(folder)));
  return element("tr", {},
    element("td", { class: "select" }, ...(may("delete", folder) ? [box] : [])),
    element("td", { class: "name" }, element("a", { href: folderHref(folder), class: "folder" }, name)),
    ...["number", "type", "when"].map((kind) => element("td", { class: kind })));
}

function blobRow(blob) {
  const name = blob.location.slice(folderOf(prefix).length);
  const box = selector(name, selected.has(blob.location), (checked) => (checked ? selected.set(blob.location, blob) : selected.delete(blob.location)));
  return element("tr", arrived.has(blob.location) ? { class: "arrived" } : {},
    element("td", { class: "select" }, ...(may("delete", blob.location) ? [box] : [])),
    element("td", { class: "name" }, element("a", { href: blobHref(blob.location) }, name)),
    element("td", { class: "number" }, bytes(blob.size)),
    element("td", { class: "type" }, blob.type),
    element("td", { class: "when" }, moment(blob.modified)));
}

function selector(name, checked, changed) {
  const box = element("input", { type: "checkbox", "aria-label": `Select ${name}` });
  box.checked = checked;
  box.addEventListener("change", () => { changed(box.checked); tellSelected(); });
  return box;
}

function tellSelected() {
  const boxes = [...byId("listing").querySelectorAll("input")];
  const chosen = boxes.filter((box) => box.checked).length;
  byId("select-all").checked = chosen > 0 && chosen === boxes.length;
  byId("select-all").indeterminate = chosen > 0 && chosen < boxes.length;
  onSelected(selection());
}

function showPath() {
  const folder = folderOf(prefix);
  const parts = folder.split("/").filter(Boolean);
  const steps = [["All blobs", ""], ...parts.map((part, at) => [part, `${parts.slice(0, at + 1).join("/")}/`])];
  byId("path").replaceChildren(...steps.map(([name, to]) => element("li", {},
    to === prefix ? element("span", { "aria-current": "page" }, name)
      : may("read", to) ? element("a", { href: folderHref(to) }, name) : element("span", {}, name))));
  if (prefix !== folder) byId("path").append(element("li", {}, element("span", { "aria-current": "page" }, `begins with “${prefix.slice(folder.length)}”`)));
}

byId("more").addEventListener("click", () => load(found.next, PAGE));
byId("select-all").addEventListener("change", (event) => {
  selected.clear();
  selectedFolders.clear();
  if (event.target.checked) {
    for (const blob of found.blobs) if (may("delete", blob.location)) selected.set(blob.location, blob);
    for (const one of found.prefixes) if (may("delete", one)) selectedFolders.add(one);
  }
  show();
});
for (const header of document.querySelectorAll("[data-sort]")) {
  header.addEventListener("click", () => {
    const by = header.dataset.sort;
    sort = { by, down: sort.by === by ? !sort.down : by !== "name" }; // the largest, the newest first
    show();
  });
}
