// Uploads: chosen or dropped, with progress, three at a time.

import { ask, Refused, send, storeUrl } from "./api.js";
import * as questions from "./confirm.js";
import * as folder from "./folder.js";
import { folderHref, folderOf, go } from "./routes.js";
import { keptFor, may } from "./session.js";
import { byId, bytes, element, say } from "./text.js";

const ASK_FIRST_BYTES = 1 << 20;
const AT_ONCE = 3; // uploads that share the connection; the others wait
const SHOWN_MS = 6000;

const queue = [];
let running = 0;
let replacesAll = false; // until the queue is empty

// `files`: pairs of a file and its path below the folder.
function upload(files) {
  if (!files.length) return;
  const into = byId("into").value.replace(/^\/+/, "").replace(/([^/])$/, "$1/");
  for (const [file, path] of files) queue.push({ file, location: into + path, row: row(file) });
  if (into !== folder.shownPrefix()) go(folderHref(into)); // the list shows what arrives
  work();
}

// The folder that is shown is the one to upload to, unless the reader types another.
export function showTarget(prefix) {
  byId("drop").hidden = !may("create", folderOf(prefix));
  if (document.activeElement !== byId("into") && !running && !queue.length) byId("into").value = folderOf(prefix);
}

function row(file) {
  const bar = element("progress", { max: "1", value: "0", "aria-label": `Upload of ${file.name}` });
  const text = element("span", {}, "waits");
  const button = element("button", { type: "button", class: "small" }, "Cancel");
  const retry = element("button", { type: "button", class: "small", hidden: "" }, "Try again");
  const root = element("li", {}, element("span", {}, `${file.name}, ${bytes(file.size)}: `, text), element("span", { class: "buttons" }, retry, button), bar);
  byId("uploads").append(root);
  return { root, bar, text, button, retry };
}

function work() {
  while (running < AT_ONCE && queue.length) {
    running += 1;
    one(queue.shift()).finally(() => {
      running -= 1;
      if (!running && !queue.length) replacesAll = false;
      work();
    });
  }
}

async function one(job) {
  const { file, location, row } = job;
  row.bar.hidden = false;
  row.retry.hidden = true;
  row.text.className = "";
  say(row.button, "Cancel");
  const told = (share) => { row.bar.value = share; say(row.text, share < 1 ? `${Math.floor(share * 100)} %` : "being made durable"); };
  const started = (abort) => { row.button.onclick = abort; };
  try {
    const status = await store(file, location, told, started);
    row.bar.value = 1;
    say(row.text, status === 201 ? "stored" : "replaced");
    row.text.className = "good";
    folder.markArrived(location);
    setTimeout(() => row.root.remove(), SHOWN_MS);
  } catch (error) {
    say(row.text, error.message);
    row.text.className = "bad";
    row.bar.hidden = true;
    row.retry.hidden = false;
    row.retry.onclick = () => { queue.push(job); work(); };
  }
  say(row.button, "Dismiss");
  row.button.onclick = () => row.root.remove();
  folder.refresh();
}

async function store(file, location, told, started) {
  try {
    if (file.size > ASK_FIRST_BYTES) await refuseIfThere(location);
    return await send("POST", location, file, {}, told, started);
  } catch (error) {
    if (error.status !== 409 || !may("update", location)) throw error;
    if (!replacesAll && !(await mayReplace(location))) throw new Error("Left as it was.");
    return send("PUT", location, file, {}, told, started);
  }
}

async function mayReplace(location) {
  const buttons = [["yes", "Replace"]];
  if (running + queue.length > 1) buttons.push(["all", "Replace all"]);
  const text = `“${location}” is there already. Its bytes will be ${keptFor() ? `kept for ${keptFor()}` : "gone for good"}.`;
  const answer = await questions.ask("Replace the blob?", text, buttons, () => replacesAll);
  if (answer === "all") replacesAll = true;
  return answer !== "no";
}

// Of a large file, learn before it is sent what its POST would be answered after.
async function refuseIfThere(location) {
  try {
    await ask("HEAD", storeUrl(location));
  } catch (error) {
    if (error.status !== 404 && error.status !== 500) throw error;
    return; // it is not there, or damaged, and then to be created anew
  }
  throw new Refused(409, "It is there already.");
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

byId("choose").addEventListener("click", () => byId("files").click());
byId("files").addEventListener("change", (event) => {
  upload([...event.target.files].map((file) => [file, file.name]));
  event.target.value = "";
});

// The whole page takes files, so that one dropped beside the box does not replace the page.
const drop = byId("drop");
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
const takesFiles = () => !drop.hidden && !byId("view-blobs").hidden;
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  drop.classList.toggle("over", takesFiles());
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  drop.classList.remove("over");
  if (!takesFiles()) return;
  dropped(event.dataTransfer).then(upload, (error) => {
    say(byId("listing-wrong"), `This cannot be read: ${error.message}`);
    byId("listing-wrong").hidden = false;
  });
});
addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
