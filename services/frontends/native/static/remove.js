// Deleting several blobs, and whole folders: what was selected, as it was listed.

import { ask, json, storeUrl } from "./api.js";
import { confirm } from "./confirm.js";
import * as folder from "./folder.js";
import { keptFor } from "./session.js";
import { byId, bytes, count, say } from "./text.js";

const AT_ONCE = 3;
const NAMED = 5;
const PAGE = 10_000; // the server's own limit

let stopped = false;

const some = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;

folder.whenSelected(({ folders, blobs }) => {
  byId("selection").hidden = !folders.length && !blobs.length;
  const all = blobs.reduce((sum, blob) => sum + blob.size, 0);
  const parts = [...(folders.length ? [some(folders.length, "folder")] : []), ...(blobs.length ? [`${some(blobs.length, "blob")}, ${bytes(all)}`] : [])];
  say(byId("selection-text"), `Selected: ${parts.join(" and ")}`);
});

byId("delete-selected").addEventListener("click", async () => {
  const { folders, blobs } = folder.selection();
  let text = "";
  busy(true);
  try {
    const left = [...blobs];
    for (const one of folders) await addBelow(one, left);
    if (!stopped && await agreed(folders, left)) text = await remove(left);
  } catch (error) {
    text = error.message;
  }
  busy(false);
  await folder.refresh();
  if (!text) return;
  say(byId("listing-wrong"), text);
  byId("listing-wrong").hidden = false;
});

function busy(is) {
  stopped = false;
  for (const id of ["delete-selected", "select-none"]) byId(id).hidden = is;
  byId("delete-stop").hidden = !is;
}

// All that is below a folder now; what comes later is not deleted.
async function addBelow(prefix, found) {
  for (let after = ""; after !== null && !stopped;) {
    const query = new URLSearchParams({ prefix, limit: String(PAGE), ...(after ? { after } : {}) });
    const page = await json(`store/?${query}`);
    for (const { location, etag, size } of page.blobs) found.push({ location, etag, size });
    after = page.next;
    say(byId("selection-text"), `Counting: ${some(found.length, "blob")}`);
  }
}

function agreed(folders, blobs) {
  const names = [...folders, ...blobs.map((blob) => blob.location).filter((one) => !folders.some((prefix) => one.startsWith(prefix)))];
  const named = names.slice(0, NAMED).map((one) => `“${one}”`).join(", ") + (names.length > NAMED ? ` and ${count(names.length - NAMED)} more` : "");
  const size = bytes(blobs.reduce((sum, blob) => sum + blob.size, 0));
  const title = folders.length === 1 && names.length === 1 ? `Delete this folder, with ${some(blobs.length, "blob")}?`
    : blobs.length === 1 ? "Delete this blob?" : `Delete ${some(blobs.length, "blob")}?`;
  const end = keptFor() ? `kept for ${keptFor()}, and can be brought back one by one until then.` : "gone for good: there is no undo.";
  return confirm(title, `${named} (${size}) will be ${end}`, keptFor() ? "Delete" : "Delete for good");
}

// Resolves to what went wrong, in words.
async function remove(blobs) {
  const wrong = [];
  const left = [...blobs].reverse();
  const worker = async () => {
    while (left.length && !stopped) {
      const blob = left.pop();
      say(byId("selection-text"), `Deleting: ${count(left.length)} left`);
      try {
        await ask("DELETE", storeUrl(blob.location), { "If-Match": blob.etag }); // only what was shown
      } catch (error) {
        if (error.status === 0) { left.push(blob); throw error; } // no answer: so it would be for the others
        if (error.status !== 404) wrong.push(`“${blob.location}”: ${error.message}`);
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  const lost = ends.find((end) => end.status === "rejected");
  if (lost) wrong.push(lost.reason.message);
  const not = left.length + wrong.length - (lost ? 1 : 0);
  if (!not) return "";
  return `${count(not)} of ${count(blobs.length)} were not deleted. ${stopped ? "You stopped it. " : ""}${wrong.slice(0, NAMED).join(" ")}`;
}

byId("select-none").addEventListener("click", () => folder.refresh());
byId("delete-stop").addEventListener("click", () => { stopped = true; });
