// The search box, and its answers beside it: blobs and folders that begin so, or a blob by its id.

import { ask, json, storeUrl } from "./api.js";
import { blobHref, folderHref, go, idHref } from "./routes.js";
import { seesServer, who } from "./session.js";
import { byId, bytes, element, say } from "./text.js";

const SHOWN = 8;
const TYPING_MS = 200;
let asked = 0; // the number of the latest question: an older one's answer is not shown
let timer = 0;

async function blobById(text) {
  const digits = text.match(/^#?(\d{1,10})$/);
  if (!digits || !seesServer()) return [];
  try {
    const blob = await json(`blobs/${Number(digits[1])}`);
    return [{ href: idHref(blob.id), name: blob.location, note: `id ${blob.id}` }];
  } catch (error) {
    if ([400, 403, 404].includes(error.status)) return [];
    throw error;
  }
}

async function beginningWith(text) {
  const { prefix } = who();
  if (!text.startsWith(prefix) && !prefix.startsWith(text)) return [];
  const query = new URLSearchParams({ prefix: text.startsWith(prefix) ? text : prefix, delimiter: "/", limit: String(SHOWN) });
  const page = await json(`store/?${query}`);
  return [
    ...page.prefixes.map((folder) => ({ href: folderHref(folder), name: folder, note: "folder" })),
    ...page.blobs.map((blob) => ({ href: blobHref(blob.location), name: blob.location, note: bytes(blob.size) })),
  ];
}

async function look(text) {
  const number = asked += 1;
  const said = (words) => { if (number === asked) say(byId("search-said"), words); };
  if (!text) { show([]); said(""); return []; }
  try {
    const answers = (await Promise.all([beginningWith(text), blobById(text)])).flat();
    if (number !== asked) return [];
    show(answers);
    said(answers.length ? "" : `Nothing begins with “${text}”.`);
    return answers;
  } catch (error) {
    if (number === asked) show([]);
    said(error.message);
    return [];
  }
}

function show(answers) {
  byId("found").replaceChildren(...answers.map(({ href, name, note }) => element("li", {},
    element("a", { href }, name), element("span", { class: "soft" }, note))));
}

async function isBlob(location) {
  try {
    await ask("HEAD", storeUrl(location));
    return true;
  } catch (error) {
    return error.status === 500; // damaged, and to be seen
  }
}

// Ids are for who sees the whole server.
export function offer() {
  if (seesServer()) return;
  say(byId("search-label"), "Find a blob by how its location begins");
  byId("search-input").placeholder = who().prefix;
}

export function clear() {
  asked += 1;
  byId("search-input").value = "";
  show([]);
  say(byId("search-said"), "");
}

byId("search-input").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => look(byId("search-input").value.trim()), TYPING_MS);
});

byId("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(timer);
  const text = byId("search-input").value.trim();
  if (!text) return;
  if (!text.startsWith("#") && !text.endsWith("/") && await isBlob(text)) { go(blobHref(text)); return; }
  const answers = await look(text);
  const first = answers.find(({ name }) => name === text || name === `${text}/`) ?? answers[0];
  if (answers.length === 1 || first?.name === `${text}/`) go(first.href);
  else if (text.endsWith("/") && answers.length) go(folderHref(text));
});
