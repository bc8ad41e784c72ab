// One blob: state, history, digests, headers; download, replace, delete.

import { ask, authorization, json, refusal, send, storeUrl, withRights } from "./api.js";
import { byId, bytes, element, moment, say } from "./text.js";

const dialog = byId("blob");
let shown = null; // { location, etag, id } of the blob in the dialog
let changed = () => {};

export function whenChanged(callback) { changed = callback; }

// What people type: a location, or an id (also as #13342). A location of digits comes before the id.
export async function find(text) {
  const digits = text.match(/^#?(\d{1,10})$/);
  if (!digits) return openLocation(text);
  const tries = [() => openLocation(text), () => openId(Number(digits[1]), null)];
  if (text.startsWith("#")) tries.reverse();
  try {
    return await tries[0]();
  } catch (error) {
    if (error.status !== 404) throw error;
    return tries[1]();
  }
}

export async function openLocation(location) {
  const answer = await fetch(storeUrl(location), { method: "HEAD", headers: withRights(), cache: "no-store" });
  if (answer.status === 404) throw Object.assign(refusal(404, ""), { message: "There is no such blob." });
  if (!answer.ok && answer.status !== 500) throw refusal(answer.status, "");
  const id = answer.headers.get("Blob-Id");
  let about = null;
  if (answer.ok && id !== null) {
    try {
      about = await json(`blobs/${id}`);
    } catch (error) {
      if (![403, 404].includes(error.status)) throw error; // replaced meanwhile, or not for this token
    }
  }
  if (about && about.location !== location) about = null;
  show({ location, id, etag: answer.headers.get("ETag"), live: answer.ok, damaged: !answer.ok }, about, answer.headers);
}

export async function openId(id, location) {
  const about = await json(`blobs/${id}`);
  if (about.state === "OK" && (location === null || about.location === location)) {
    try {
      return await openLocation(about.location);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
  }
  return show({ location: about.location, id, etag: about.etag, live: false, damaged: false }, about, null);
}

function show(blob, about, headers) {
  shown = blob;
  say(byId("blob-title"), blob.location);
  const state = blob.damaged ? "Damaged" : about ? about.state : blob.live ? "OK" : "gone";
  byId("blob-state").className = `state ${state}`;
  say(byId("blob-state"), state);
  say(byId("blob-message"), blob.damaged ? "Damaged on disk, and not served: replace it, or delete it." : "");
  byId("blob-download").hidden = !blob.live;
  byId("blob-replace").hidden = byId("blob-delete").hidden = !blob.live && !blob.damaged;
  const rows = [];
  if (about) rows.push(["Id", about.id], ["Size", about.size === null ? "not known" : bytes(about.size) + (about.size < 1024 ? "" : ` (${about.size})`)], ["Sequence", about.sequence]);
  if (about?.etag) rows.push(["SHA-256", about.etag.replace(/^"|"$/g, "")]);
  if (headers) for (const [name, value] of headers) rows.push([name, value]);
  byId("blob-fields").replaceChildren(...rows.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, String(value)))));
  byId("blob-history").replaceChildren(...(about?.history ?? []).map((event) => element("li", {},
    element("time", { datetime: event.time }, moment(event.time)),
    element("span", { class: `state ${event.state}` }, event.state), element("span", {}, event.message))));
  if (!dialog.open) dialog.showModal();
}

function fail(error) {
  say(byId("blob-message"), error.message);
}

// One question after the other: an answer must not be taken for another's.
let asking = Promise.resolve();

export function confirm(title, text, yes) {
  asking = asking.then(() => question(title, text, yes));
  return asking;
}

function question(title, text, yes) {
  const asked = byId("confirm");
  say(byId("confirm-title"), title);
  say(byId("confirm-text"), text);
  say(byId("confirm-yes"), yes);
  asked.returnValue = "no";
  asked.showModal();
  return new Promise((resolve) => asked.addEventListener("close", () => resolve(asked.returnValue === "yes"), { once: true }));
}

byId("blob-close").addEventListener("click", () => dialog.close());

byId("blob-download").addEventListener("click", async () => {
  const name = shown.location.split("/").pop();
  try {
    let url = storeUrl(shown.location);
    if (authorization()) url = URL.createObjectURL(await (await ask("GET", url)).blob()); // a link sends no token
    element("a", { href: url, download: name }).click();
    if (url.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) { fail(error); }
});

byId("blob-replace").addEventListener("click", () => byId("blob-file").click());

byId("blob-file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  const { location, etag } = shown;
  try {
    // Only what was shown is replaced: If-Match makes it a compare-and-swap.
    await send("PUT", location, file, etag ? { "If-Match": etag } : {}, (share) => say(byId("blob-message"), `Sending: ${Math.round(share * 100)} %`));
    await openLocation(location);
    say(byId("blob-message"), "Replaced.");
    changed();
  } catch (error) { fail(error); }
});

byId("blob-delete").addEventListener("click", async () => {
  const { location, etag } = shown;
  const sure = await confirm("Delete this blob?", `“${location}” will be gone for good: there is no undo, and no copy is kept.`, "Delete for good");
  if (!sure) return;
  try {
    await ask("DELETE", storeUrl(location), etag ? { "If-Match": etag } : {});
    dialog.close();
    changed();
  } catch (error) { fail(error); }
});
