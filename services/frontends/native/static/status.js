// The verdict at the top, which server this is, and how old the figures are when it does not answer.

import { byId, clock, element, say as write } from "./text.js";

const POLL_MS = 5000;
let title = "";
let look = "";
let words = "Connecting …";
let heardAt = null;

export function titled(text) {
  title = text;
  show();
}

export function say(newLook, text) {
  look = newLook;
  words = text;
  show();
}

function show() {
  byId("verdict").className = `pill ${look}`;
  write(byId("verdict"), words);
  document.title = [...(look === "good" || !look ? [] : [words]), ...(title ? [title] : []), "Blobkeep"].join(" · ");
}

export function judge(now) {
  const wrong = now.checks.filter((check) => !check.ok);
  if (!now.ready) say("bad", `Not ready: ${wrong.find((check) => check.vital).text}`);
  else if (wrong.length) say("warn", `Serving, but look at: ${wrong.map((check) => check.name).join(", ")}`);
  else say("good", "All is well");
}

// There is news: the figures are those of now.
export function heard() {
  heardAt = new Date();
  document.body.classList.remove("stale");
  byId("as-of").hidden = true;
}

// `text`: what the server says of itself, where it says anything.
export function lost(text) {
  say(text ? "warn" : "bad", text || "The server does not answer");
  document.body.classList.add("stale");
  byId("as-of").hidden = heardAt === null;
  if (heardAt !== null) write(byId("as-of"), `No news: all figures are as of ${clock(heardAt.toISOString())}.`);
}

// For those who may not see the server as a whole: whether it serves, and no more.
export function poll() {
  const once = async () => {
    try {
      const answer = await fetch("healthz", { cache: "no-store" });
      if (answer.ok) { say("good", "Serving"); document.body.classList.remove("stale"); }
      else say("bad", (await answer.json()).text);
    } catch { lost(""); }
    setTimeout(once, POLL_MS);
  };
  once();
}

export function showServer({ open, server }) {
  const facts = server ? [["Host", server.name], ["Version", server.version], ["Listens on", server.listen], ["Blobs in", server.place]] : [];
  byId("server-facts").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  byId("open").hidden = !open;
  write(byId("version"), server ? `Blobkeep ${server.version}` : "");
}
