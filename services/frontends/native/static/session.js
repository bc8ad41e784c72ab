// Who sits here and what they may do. What the page offers follows from it; the server judges again.

import { json } from "./api.js";

const MAY = {
  "read-only": ["read"],
  "append-only": ["read", "create"],
  "read-write": ["read", "create", "update", "delete"],
};
const WORDS = { "read-only": "may read", "append-only": "may read and create", "read-write": "may read and write" };
const UNITS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

let session = { open: false, user: null, role: null, prefix: "", links: false, keep_deleted_s: 0, server: null };

// Throws Refused (401) where the secret that this tab keeps is not known to the server, or not any more.
export async function loadSession() {
  session = await json("session");
}

export function who() { return session; }

export function isAdmitted() { return session.role !== null; }

// Of the server as a whole, not of blobs below a prefix alone.
export function seesServer() { return session.server !== null; }

export function may(action, location) {
  return isAdmitted() && MAY[session.role].includes(action) && location.startsWith(session.prefix);
}

// For how long what is deleted or replaced can be brought back, in words; "" where it cannot.
export function keptFor() {
  const seconds = session.keep_deleted_s;
  const [unit, name] = UNITS.find(([one]) => seconds >= one) ?? [];
  if (!unit) return "";
  const n = Math.floor(seconds / unit);
  return `${n} ${name}${n === 1 ? "" : "s"}`;
}

export function makesLinks() { return session.links; }

export function rightsInWords() {
  return WORDS[session.role] + (session.prefix ? ` under ${session.prefix}` : "");
}
