// Buttons that copy a text, also over plain HTTP, where browsers have no clipboard for scripts.

import { element, say } from "./text.js";

const SHOWN_MS = 2000;

export function copyButton(what, text) {
  const button = element("button", { type: "button", class: "small", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    const done = await copied(text, button);
    say(button, done ? "Copied" : "Not copied");
    setTimeout(() => say(button, "Copy"), SHOWN_MS);
  });
  return button;
}

async function copied(text, beside) {
  if (navigator.clipboard) {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed: the old way */ }
  }
  const field = element("textarea", { class: "off-screen", "aria-hidden": "true" });
  field.value = text;
  beside.after(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  beside.focus();
  return done;
}
