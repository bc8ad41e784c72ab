// The dashboard: wires the stream of events to what shows it, and asks for a token where one is needed.

import { authorization, signIn, signOut, whenUnauthorized } from "./api.js";
import { openId, openLocation } from "./blob.js";
import * as browse from "./browse.js";
import * as feed from "./feed.js";
import { listen } from "./live.js";
import * as overview from "./overview.js";
import * as plots from "./plots.js";
import { byId, say } from "./text.js";

function notify(text) {
  say(byId("notice"), text);
  byId("notice").hidden = !text;
}

function verdict(look, text) {
  byId("verdict").className = `pill ${look}`;
  say(byId("verdict"), text);
  document.title = look === "good" ? "Blobkeep" : `${text} · Blobkeep`;
}

function judge(now) {
  const wrong = now.checks.filter((check) => !check.ok);
  if (!now.ready) verdict("bad", `Not ready: ${wrong.find((check) => check.vital).text}`);
  else if (wrong.length) verdict("warn", `Serving, but look at: ${wrong.map((check) => check.name).join(", ")}`);
  else verdict("good", "All is well");
}

let lost = false;
const stream = listen({
  hello(data) {
    plots.begin(data);
    feed.begin(data.feed);
    if (lost) browse.open(byId("folder").value.replace(/[^/]*$/, "")); // the server may be another one
    lost = false;
  },
  tick({ now, sample }) {
    overview.showProcesses(now.processes);
    overview.showStore(now);
    plots.add(sample);
    judge(now);
  },
  feed(entries) { feed.add(entries); },
  lost(status, text) {
    lost = true;
    overview.showNoContact();
    if (status === 401) { verdict("warn", "Sign in to see how it is"); askForToken(); }
    else if (status === 403) verdict("warn", "This token may not see the whole server");
    else if (status === 503 && text) verdict("warn", text);
    else verdict("bad", "The server does not answer");
  },
});

// --- signing in ---

function askForToken() {
  if (!byId("sign-in").open) {
    byId("sign-out").hidden = !authorization();
    byId("sign-in").returnValue = "";
    byId("sign-in").showModal();
  }
}

function showToken() {
  say(byId("token-button"), authorization() ? "Signed in" : "Sign in");
}

byId("token-button").addEventListener("click", askForToken);
byId("sign-out").addEventListener("click", () => byId("sign-in").close("out"));
byId("sign-in").addEventListener("close", () => {
  const secret = byId("sign-in-secret").value;
  const how = byId("sign-in").returnValue;
  if (how === "in" && secret) signIn(byId("sign-in-user").value, secret);
  else if (how === "out") signOut();
  else return;
  byId("sign-in-secret").value = "";
  notify("");
  showToken();
  stream.restart();
  browse.open("");
});
whenUnauthorized(askForToken);

// --- the rest ---

const opened = (promise) => promise.then(() => notify(""), (error) => notify(error.message));
feed.whenChosen((id, location) => opened(openId(id, location)));
overview.whenOpened((location) => opened(openLocation(location)));
browse.whenSaid(notify);
showToken();
browse.open("");
