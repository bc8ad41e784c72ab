// Questions, one after the other: an answer must not be taken for another's.

import { byId, element, say } from "./text.js";

let asking = Promise.resolve();

// Resolves to the value of the button: "no" for Cancel and Escape. `buttons`: pairs of value and text.
// `answered`: tells, when its turn comes, whether an earlier answer holds for it, too.
export function ask(title, text, buttons, answered = () => false) {
  asking = asking.then(() => (answered() ? "yes" : question(title, text, buttons)));
  return asking;
}

export async function confirm(title, text, yes) {
  return (await ask(title, text, [["yes", yes]])) === "yes";
}

function question(title, text, buttons) {
  const asked = byId("confirm");
  say(byId("confirm-title"), title);
  say(byId("confirm-text"), text);
  byId("confirm-buttons").replaceChildren(
    element("button", { value: "no", autofocus: "" }, "Cancel"),
    ...buttons.map(([value, words]) => element("button", { value, class: "danger" }, words)));
  asked.returnValue = "no";
  asked.showModal();
  return new Promise((resolve) => asked.addEventListener("close", () => resolve(asked.returnValue || "no"), { once: true }));
}
