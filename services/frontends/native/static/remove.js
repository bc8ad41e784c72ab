// Deleting several blobs: those that were selected, as they were listed.

import { ask, storeUrl } from "./api.js";
import { confirm } from "./confirm.js";
import * as folder from "./folder.js";
import { byId, bytes, count, say } from "./text.js";

const AT_ONCE = 3;
const NAMED = 5;

folder.whenSelected((blobs) => {
  byId("selection").hidden = !blobs.length;
  const all = blobs.reduce((sum, blob) => sum + blob.size, 0);
  say(byId("selection-text"), `${count(blobs.length)} selected, ${bytes(all)}`);
});

byId("delete-selected").addEventListener("click", async () => {
  const blobs = folder.selection();
  const names = blobs.slice(0, NAMED).map((blob) => `“${blob.location}”`).join(", ");
  const more = blobs.length > NAMED ? ` and ${count(blobs.length - NAMED)} more` : "";
  const what = blobs.length === 1 ? "this blob" : `${count(blobs.length)} blobs`;
  if (!(await confirm(`Delete ${what}?`, `${names}${more} will be gone for good: there is no undo.`, "Delete for good"))) return;
  const wrong = [];
  const left = [...blobs];
  const worker = async () => {
    for (let blob = left.pop(); blob; blob = left.pop()) {
      say(byId("selection-text"), `Deleting: ${count(left.length)} left`);
      try {
        await ask("DELETE", storeUrl(blob.location), { "If-Match": blob.etag }); // only what was shown
      } catch (error) {
        if (error.status !== 404) wrong.push(`“${blob.location}”: ${error.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  await folder.refresh();
  const text = wrong.length ? `${count(wrong.length)} of ${count(blobs.length)} were not deleted. ${wrong.slice(0, NAMED).join(" ")}` : "";
  say(byId("listing-wrong"), text);
  byId("listing-wrong").hidden = !text;
});

byId("select-none").addEventListener("click", () => folder.refresh());
