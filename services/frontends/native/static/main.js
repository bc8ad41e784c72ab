// The dashboard: which view is shown, and the news of the server for those that need them.

import { authorization, signOut, whenUnauthorized } from "./api.js";
import * as back from "./back.js";
import * as blob from "./blob.js";
import * as feed from "./feed.js";
import * as folder from "./folder.js";
import { listen } from "./live.js";
import * as overview from "./overview.js";
import * as plots from "./plots.js";
import "./remove.js";
import { folderHref, folderOf, here, replace, whenMoved } from "./routes.js";
import * as search from "./search.js";
import { isAdmitted, loadSession, seesServer, who } from "./session.js";
import { askForToken, showWho } from "./sign_in.js";
import * as status from "./status.js";
import { byId, say } from "./text.js";
import * as uploads from "./uploads.js";

const VIEWS = ["overview", "blobs", "blob"];
const RETRY_MS = 1000;

function show(view) {
  for (const one of VIEWS) byId(`view-${one}`).hidden = one !== view;
  byId("nav-overview").toggleAttribute("aria-current", view === "overview");
  byId("nav-blobs").toggleAttribute("aria-current", view !== "overview");
}

function move() {
  const { view, path } = here();
  if (!isAdmitted()) return;
  if (view === "overview" && !seesServer()) { replace(folderHref(who().prefix)); return; }
  const name = view === "id" ? "blob" : view;
  show(name);
  status.titled(view === "overview" ? "" : path || "Blobs");
  if (view === "overview") return;
  byId("nav-blobs").setAttribute("href", folderHref(view === "blobs" ? path : view === "blob" ? folderOf(path) : who().prefix));
  search.clear();
  back.forget();
  if (view === "blobs") { uploads.showTarget(path); folder.open(path); }
  else if (view === "blob") blob.openLocation(path);
  else blob.openId(path);
}

let wasLost = false;

function follow() {
  listen({
    hello(data) {
      plots.begin(data);
      feed.begin(data.feed);
      if (wasLost) againThere();
      wasLost = false;
    },
    tick({ now, sample }) {
      status.heard();
      overview.showProcesses(now.processes);
      overview.showStore(now);
      plots.add(sample);
      status.judge(now);
    },
    feed(entries) { feed.add(entries); },
    lost(code, text) {
      wasLost = true;
      if (code === 401 || code === 403) { status.say("warn", text); askAgain(text); return; }
      overview.showNoContact();
      status.lost(code === 503 ? text : "");
    },
  });
}

// The server may be another one, or hold other blobs.
async function againThere() {
  await loadSession();
  status.showServer(who());
  if (here().view === "blobs") await folder.refresh();
}

function askAgain(text) {
  if (authorization()) askForToken(text || "Your token is not known here any more.");
  else askForToken();
}

async function begin() {
  try {
    await loadSession();
  } catch (error) {
    if (error.status === 401) { // the secret of this tab is no good any more
      signOut();
      await loadSession();
      askForToken(error.message);
    } else {
      status.lost(error.status === 503 ? error.message : "");
      setTimeout(begin, RETRY_MS);
      return;
    }
  }
  showWho();
  status.showServer(who());
  document.body.classList.toggle("no-server", !seesServer());
  byId("view-closed").hidden = isAdmitted();
  byId("nav").hidden = !isAdmitted();
  if (!isAdmitted()) { status.say("warn", "Sign in to see how it is"); if (!byId("sign-in").open) askForToken(); return; }
  whenUnauthorized(() => askAgain(""));
  if (seesServer()) follow(); else status.poll();
  search.offer();
  whenMoved(move);
  move();
}

byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
say(byId("address"), location.host);
begin();
