// Signing in and out. Both load the page anew, so that nothing of what another one saw is left in it.

import { authorization, keep, refusal, signOut, tokenOf, withRights } from "./api.js";
import { OVERVIEW } from "./routes.js";
import { rightsInWords, who } from "./session.js";
import { byId, say } from "./text.js";

const dialog = byId("sign-in");

// `why`: a sentence, where something went wrong.
export function askForToken(why = "") {
  say(byId("sign-in-wrong"), why);
  byId("sign-in-wrong").hidden = !why;
  if (!dialog.open) dialog.showModal();
  byId("sign-in-user").focus();
}

export function showWho() {
  const { open, user } = who();
  byId("who").hidden = open || user === null;
  byId("token-button").hidden = open || user !== null;
  if (user === null) return;
  say(byId("who-name"), user);
  say(byId("who-rights"), rightsInWords());
}

byId("token-button").addEventListener("click", () => askForToken());
byId("sign-in-cancel").addEventListener("click", () => dialog.close());

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const secret = byId("sign-in-secret").value;
  if (!secret) { askForToken("Type the token, or the password."); return; }
  const header = tokenOf(byId("sign-in-user").value, secret);
  try {
    const answer = await fetch("session", { headers: { ...withRights(), Authorization: header }, cache: "no-store" });
    if (!answer.ok) throw refusal(answer.status, await answer.text(), true);
  } catch (error) {
    askForToken(error instanceof TypeError ? "The server does not answer." : error.message);
    byId("sign-in-secret").select();
    return;
  }
  keep(header);
  location.reload();
});

byId("sign-out").addEventListener("click", () => {
  signOut();
  history.replaceState(null, "", OVERVIEW);
  location.reload();
});

export function isSignedIn() { return authorization() !== null; }
