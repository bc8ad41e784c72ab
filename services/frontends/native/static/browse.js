// Browsing by prefix, searching, and uploading by drag and drop with progress.

import { ask, json, Refused, send, storeUrl } from "./api.js";
import { confirm, find, openLocation, whenChanged } from "./blob.js";
import { byId, bytes, element, moment, say } from "./text.js";

const PAGE = 200;
const ASK_FIRST_BYTES = 1 << 20;
const AT_ONCE = 3; // uploads that share the connection; the others wait
let folder = "";
let next = null;
let notify = () => {};

export function whenSaid(callback) { notify = callback; }

export async function open(prefix) {
  folder = prefix;
  byId("folder").value = prefix;
  next = null;
  showPath();
  await page(true);
}

async function page(fresh) {
  const query = new URLSearchParams({ prefix: folder, delimiter: "/", limit: String(PAGE) });
  if (next !== null) query.set("after", next);
  const asked = folder;
  try {
    const found = await json(`store/?${query}`);
    if (asked !== folder) return; // another folder was opened meanwhile
    next = found.next;
    const rows = [...found.prefixes.map(folderRow), ...found.blobs.map(blobRow)];
    if (fresh) byId("listing").replaceChildren(...rows);
    else byId("listing").append(...rows);
    if (!byId("listing").children.length) byId("listing").append(element("tr", {}, element("td", { colspan: "4" }, "Nothing here yet.")));
    byId("more").hidden = next === null;
  } catch (error) {
    if (fresh) byId("listing").replaceChildren();
    byId("more").hidden = true;
    if (error.status !== 401) notify(error.message);
  }
}

function folderRow(prefix) {
  return element("tr", {}, element("td", {}, link(prefix.slice(folder.length), () => open(prefix))), element("td"), element("td"), element("td"));
}

function blobRow(blob) {
  return element("tr", {},
    element("td", {}, link(blob.location.slice(folder.length), () => openLocation(blob.location).catch((error) => notify(error.message)))),
    element("td", { class: "number" }, bytes(blob.size)), element("td", {}, blob.type), element("td", {}, moment(blob.modified)));
}

function link(text, action) {
  return element("button", { type: "button", class: "link", onclick: action }, text);
}

function showPath() {
  const parts = folder.split("/").filter(Boolean);
  const links = [link("all blobs", () => open(""))];
  parts.forEach((part, at) => links.push(" / ", link(part, () => open(`${parts.slice(0, at + 1).join("/")}/`))));
  byId("path").replaceChildren(...links);
}

// --- uploads ---

const queue = [];
let running = 0;

// `files`: pairs of a file and its path below the folder.
export function upload(files) {
  const into = byId("folder").value.replace(/^\/+/, "").replace(/([^/])$/, "$1/");
  for (const [file, path] of files) queue.push({ file, location: into + path, shown: shownUpload(file) });
  work();
}

// What was dropped; of folders, all files below them.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  if (entries.some((entry) => !entry)) return [...transfer.files].map((file) => [file, file.name]);
  return (await Promise.all(entries.map(below))).flat();
}

async function below(entry) {
  if (entry.isFile) return [[await new Promise((resolve, reject) => entry.file(resolve, reject)), entry.fullPath.slice(1)]];
  const reader = entry.createReader();
  const found = [];
  for (;;) { // it tells a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return (await Promise.all(found.map(below))).flat();
    found.push(...some);
  }
}

function shownUpload(file) {
  const bar = element("progress", { max: "1", value: "0", "aria-label": `Upload of ${file.name}` });
  const text = element("span", {}, "waits");
  const cancel = element("button", { type: "button", class: "link" }, "Cancel");
  const root = element("li", {}, element("span", {}, `${file.name}, ${bytes(file.size)} — `, text), cancel, bar);
  byId("uploads").append(root);
  return { root, bar, text, cancel };
}

function work() {
  while (running < AT_ONCE && queue.length) {
    running += 1;
    one(queue.shift()).finally(() => { running -= 1; work(); });
  }
}

async function one({ file, location, shown }) {
  const told = (share) => { shown.bar.value = share; say(shown.text, share < 1 ? `${Math.floor(share * 100)} %` : "being made durable"); };
  const started = (abort) => { shown.cancel.onclick = abort; };
  try {
    let status;
    try {
      if (file.size > ASK_FIRST_BYTES) await refuseIfThere(location);
      status = await send("POST", location, file, {}, told, started);
    } catch (error) {
      if (error.status !== 409) throw error;
      const sure = await confirm("Replace the blob?", `“${location}” is there already. Its bytes will be gone for good.`, "Replace");
      if (!sure) throw new Error("Left as it was.");
      status = await send("PUT", location, file, {}, told, started);
    }
    shown.bar.value = 1;
    say(shown.text, status === 201 ? "stored" : "replaced");
    shown.text.className = "good";
    setTimeout(() => shown.root.remove(), 6000);
  } catch (error) {
    say(shown.text, error.message);
    shown.text.className = "bad";
    shown.bar.remove();
  }
  say(shown.cancel, "Dismiss");
  shown.cancel.onclick = () => shown.root.remove();
  open(folder);
}

// Of a large file, learn before it is sent what its POST would be answered after.
async function refuseIfThere(location) {
  try {
    await ask("HEAD", storeUrl(location));
  } catch (error) {
    if (error.status !== 404 && error.status !== 500) throw error;
    return; // it is not there, or damaged, and then to be created anew
  }
  throw new Refused(409, "");
}

// --- wiring ---

byId("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = byId("search-input").value.trim();
  if (!text) return;
  if (text.endsWith("/")) { await open(text); return; }
  try {
    notify("");
    await find(text);
  } catch (error) { notify(`${text}: ${error.message}`); }
});

byId("choose").addEventListener("click", () => byId("files").click());
byId("files").addEventListener("change", (event) => {
  upload([...event.target.files].map((file) => [file, file.name]));
  event.target.value = "";
});
byId("more").addEventListener("click", () => page(false));
whenChanged(() => open(folder));

// The whole page takes files, so that one dropped beside the box does not replace the page.
const drop = byId("drop");
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => { if (carriesFiles(event)) { event.preventDefault(); drop.classList.add("over"); } });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  drop.classList.remove("over");
  dropped(event.dataTransfer).then(upload, (error) => notify(`This cannot be read: ${error.message}`));
});
addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
