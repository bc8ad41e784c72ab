// Bringing back what was deleted or replaced, while the server keeps it (its option keep_deleted).

import { ask, json } from "./api.js";
import { confirm } from "./confirm.js";
import * as folder from "./folder.js";
import { idHref } from "./routes.js";
import { keptFor, may, seesServer } from "./session.js";
import { byId, bytes, count, element, moment, say } from "./text.js";

const PAGE = 250;
const AT_ONCE = 50; // rows that are shown before the reader asks for more
let listed = ""; // the prefix that the list is of
let next = null;
let kept = []; // what is listed
let isFresh = false; // an offer that was made while the folder is being opened

export function dataUrl(id) { return `blobs/${encodeURIComponent(id)}/data`; }

// True once it is back; false where another blob is there, and is to stay. Throws Refused.
export async function bring(id, location) {
  const url = `blobs/${encodeURIComponent(id)}/undelete`;
  try {
    await ask("POST", url);
  } catch (error) {
    if (error.status !== 409 || !may("update", location)) throw error;
    const text = `Another blob is at “${location}” by now. It will be replaced.`;
    if (!(await confirm("Put this one in its place?", text, "Replace"))) return false;
    await ask("POST", `${url}?replace`);
  }
  return true;
}

// After a deletion: the way back, for as long as the folder is on the page.
export function offer(id, location) {
  isFresh = true;
  tell(`“${location}” was deleted.`, element("button", { type: "button", class: "small", onclick: () => bringHere(id, location) }, "Bring back"));
}

export function forget() {
  byId("done").hidden = !isFresh;
  isFresh = false;
}

function tell(text, ...more) {
  byId("done").replaceChildren(element("span", {}, text), ...more);
  byId("done").hidden = false;
}

async function bringHere(id, location) {
  try {
    if (!(await bring(id, location))) return;
    folder.markArrived(location);
    tell(`“${location}” is back.`);
  } catch (error) { tell(error.message); }
  await folder.refresh();
}

// --- the list of what is kept, below a folder ---

// Only who sees the whole server may list by id.
folder.whenShown((prefix) => {
  const offered = keptFor() !== "" && seesServer();
  byId("kept").hidden = !offered;
  if (!offered) return;
  listed = prefix;
  next = 0;
  kept = [];
  byId("kept-rows").replaceChildren();
  if (byId("kept").open) more();
});

async function more() {
  const prefix = listed;
  say(byId("kept-note"), "Looking …");
  byId("kept-more").hidden = true;
  const wanted = kept.length + AT_ONCE;
  try {
    while (next !== null && kept.length < wanted) {
      const page = await json(`blobs/?state=Failure&limit=${PAGE}${next ? `&after=${next}` : ""}`);
      if (prefix !== listed) return; // another folder was opened meanwhile
      kept.push(...page.blobs.filter((blob) => blob.kept_until !== null && blob.location.startsWith(prefix)));
      next = page.next;
    }
    kept.sort((a, b) => (a.kept_until > b.kept_until ? -1 : 1)); // what was deleted last first
    byId("kept-rows").replaceChildren(...kept.map(row));
    say(byId("kept-note"), kept.length ? "" : "Nothing is kept here.");
    byId("kept-table").hidden = kept.length === 0;
  } catch (error) { say(byId("kept-note"), error.message); }
  byId("kept-more").hidden = next === null;
}

function row(blob) {
  const button = element("button", { type: "button", class: "small", "aria-label": `Bring back ${blob.location}`, onclick: () => bringHere(blob.id, blob.location) }, "Bring back");
  return element("tr", {},
    element("td", { class: "name" }, element("a", { href: idHref(blob.id) }, blob.location.slice(listed.lastIndexOf("/") + 1))),
    element("td", { class: "number" }, bytes(blob.size)),
    element("td", { class: "when" }, moment(blob.kept_until)),
    element("td", { class: "do" }, ...(may("create", blob.location) ? [button] : [])));
}

byId("kept").addEventListener("toggle", () => { if (byId("kept").open && !kept.length) more(); });
byId("kept-more").addEventListener("click", more);
