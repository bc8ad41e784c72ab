// One blob as a page: what it is, what can be done with it, its history.

import { authorization, downloadUrl, json, refusal, send, signedLink, storeUrl, ask, withRights } from "./api.js";
import * as back from "./back.js";
import { confirm } from "./confirm.js";
import { copyButton } from "./copy.js";
import { preview } from "./preview.js";
import { blobHref, folderHref, folderOf, go, replace } from "./routes.js";
import { keptFor, makesLinks, may, seesServer, who } from "./session.js";
import { byId, bytes, element, moment, say } from "./text.js";

let shown = null; // { id, location, etag, live, damaged, kept } of the blob on the page
let asked = 0;

export async function openLocation(location) {
  const number = begin(location, folderOf(location));
  try {
    const answer = await fetch(storeUrl(location), { method: "HEAD", headers: withRights(), cache: "no-store" });
    if (!answer.ok && answer.status !== 500) {
      throw answer.status === 404 ? new Error("There is no such blob.") : refusal(answer.status, "");
    }
    const about = await describe(answer.headers.get("Blob-Id"), location);
    const blob = { id: answer.headers.get("Blob-Id"), location, etag: answer.headers.get("ETag"), live: answer.ok, damaged: !answer.ok, kept: false };
    if (number === asked) show(blob, about, answer.headers);
  } catch (error) { fail(number, error); }
}

// Of a blob that has been replaced or deleted, what is known while its folder is there.
export async function openId(id) {
  const number = begin(`id ${id}`);
  try {
    const about = await json(`blobs/${encodeURIComponent(id)}`);
    if (number !== asked) return;
    const now = about.state === "OK" ? await describe(null, about.location) : null;
    if (now === null && about.state === "OK") replace(blobHref(about.location));
    else show({ id, location: about.location, etag: about.etag, live: false, damaged: false, kept: about.kept_until !== null }, about, null);
  } catch (error) {
    fail(number, error.status === 404 ? new Error("Nothing is left of this blob: it was deleted or replaced, and its space was freed.") : error);
  }
}

// History and all; null where this client may not see it, or the blob was replaced meanwhile.
async function describe(id, location) {
  if (id === null || !seesServer()) return null;
  try {
    const about = await json(`blobs/${id}`);
    return about.location === location ? about : null;
  } catch (error) {
    if ([403, 404].includes(error.status)) return null;
    throw error;
  }
}

function showFolder(folder) {
  byId("blob-path").replaceChildren(element("a", { href: folderHref(folder) }, folder || "All blobs"));
}

function begin(title, folder = who().prefix) {
  shown = null;
  byId("blob-body").hidden = true;
  byId("preview").replaceChildren();
  say(byId("blob-message"), "");
  say(byId("blob-title"), title);
  showFolder(folder);
  return asked += 1;
}

function fail(number, error) {
  if (number !== asked) return;
  byId("blob-body").hidden = true;
  say(byId("blob-message"), error instanceof TypeError ? "The server does not answer." : error.message);
}

function show(blob, about, headers) {
  shown = blob;
  const { location, live, damaged, kept } = blob;
  byId("blob-body").hidden = false;
  say(byId("blob-title"), location);
  showFolder(folderOf(location));
  const gone = !live && !damaged;
  byId("blob-state").hidden = live;
  byId("blob-state").className = damaged ? "word bad" : "word calm";
  say(byId("blob-state"), damaged ? "Damaged" : kept ? "Deleted or replaced, and kept" : about?.state === "Failure" ? "Not there any more" : about?.state ?? "");
  say(byId("blob-message"), damaged ? "Damaged on disk, and not served: replace it, or delete it." : "");
  byId("blob-download").classList.toggle("primary", live);
  byId("preview-part").hidden = !live;
  byId("blob-download").hidden = !live && !(kept && authorization() === null); // a browser sends no token with a link
  byId("blob-back").hidden = !kept || !may("create", location);
  byId("blob-replace").hidden = gone || !may("update", location);
  byId("blob-delete").hidden = gone || !may("delete", location);
  byId("blob-links").hidden = gone;
  facts(blob, about, headers);
  links(location);
  byId("link-made").replaceChildren();
  byId("blob-link").hidden = !makesLinks();
  byId("blob-raw").hidden = !headers;
  if (headers) byId("blob-headers").replaceChildren(...[...headers].map(([name, value]) => line(name, value)));
  byId("blob-history-part").hidden = !about?.history;
  byId("blob-history").replaceChildren(...(about?.history ?? []).map((event) => element("li", {},
    element("time", { datetime: event.time }, moment(event.time)), element("span", {}, event.message))));
  if (live) preview(byId("preview"), location, headers);
}

function facts(blob, about, headers) {
  const size = headers?.get("Content-Length") ?? about?.size ?? null;
  const modified = headers?.get("Last-Modified") ?? about?.modified ?? null;
  const sha256 = (blob.etag ?? about?.etag ?? "").replace(/^"|"$/g, "");
  const rows = [];
  if (size !== null && !blob.damaged) rows.push(line("Size", Number(size) < 1024 ? bytes(Number(size)) : `${bytes(Number(size))} (${Number(size).toLocaleString("en")} bytes)`));
  const type = blob.damaged ? null : headers?.get("Content-Type") ?? about?.type;
  if (type) rows.push(line("Type", type));
  if (modified) rows.push(line("Modified", moment(modified)));
  const expires = about ? about.expires : headers?.get("Blob-Expires");
  if (expires) rows.push(line("Expires", moment(expires)));
  if (about?.kept_until) rows.push(line("Kept until", moment(about.kept_until)));
  if (sha256) rows.push(line("SHA-256", sha256, copyButton("the SHA-256", sha256)));
  for (const [name, value] of metadata(about, headers)) rows.push(line(name, value));
  if (about) rows.push(line("Id", String(about.id)));
  byId("blob-facts").replaceChildren(...rows);
}

function metadata(about, headers) {
  const kept = ["cache-control", "content-disposition", "content-encoding", "content-language", "expires"];
  if (!headers) return Object.entries(about?.metadata ?? {});
  return [...headers].filter(([name, value]) => name.startsWith("x-meta-") || (kept.includes(name) && value !== "no-cache" && value !== "no-store"));
}

function line(name, value, ...more) {
  return element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, element("span", { class: "value" }, value), ...more));
}

// Copied from here, pasted elsewhere: whole addresses. No secret is written into the command.
function links(location) {
  const url = new URL(storeUrl(location), document.baseURI).href.replaceAll("'", "%27");
  const secret = authorization();
  const rights = !secret ? "" : secret.startsWith("Bearer") ? ' -H "Authorization: Bearer $TOKEN"' : " -u USER";
  const command = `curl -fO${rights} '${url}'`;
  byId("blob-urls").replaceChildren(
    line("Address", url, copyButton("the address", url)), line("curl", command, copyButton("the curl line", command)));
}

// --- what can be done ---

byId("blob-download").addEventListener("click", async () => {
  const { id, location, live } = shown;
  try {
    element("a", { href: live ? await downloadUrl(location) : back.dataUrl(id), download: location.split("/").pop() }).click();
  } catch (error) { say(byId("blob-message"), error.message); }
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
  } catch (error) { say(byId("blob-message"), error.message); }
});

byId("blob-back").addEventListener("click", async () => {
  const { id, location } = shown;
  try {
    if (await back.bring(id, location)) go(blobHref(location));
  } catch (error) { say(byId("blob-message"), error.message); }
});

byId("link-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { location } = shown;
  try {
    const { url, expires } = await signedLink(location, Number(byId("link-lasts").value));
    if (shown?.location !== location) return;
    byId("link-made").replaceChildren(element("p", {}, element("span", { class: "value" }, url), copyButton("the link", url)),
      element("p", { class: "soft" }, `Whoever has it may read this blob until ${moment(expires)}. It cannot be taken back.`));
  } catch (error) { byId("link-made").replaceChildren(element("p", { class: "wrong" }, error.message)); }
});

byId("blob-delete").addEventListener("click", async () => {
  const { id, location, etag, damaged } = shown;
  const kept = keptFor() && !damaged;
  const text = kept ? `“${location}” is kept for ${keptFor()}, and can be brought back until then.`
    : `“${location}” will be gone for good: there is no undo, and no copy is kept.`;
  if (!(await confirm("Delete this blob?", text, kept ? "Delete" : "Delete for good"))) return;
  try {
    await ask("DELETE", storeUrl(location), etag ? { "If-Match": etag } : {});
    go(folderHref(folderOf(location)));
    if (kept) back.offer(id, location);
  } catch (error) { say(byId("blob-message"), error.message); }
});
