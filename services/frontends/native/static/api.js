// Requests to this server with the caller's own rights. The secret stays in this tab's sessionStorage.

const KEY = "blobkeep-authorization";
let onUnauthorized = () => {};

export function whenUnauthorized(callback) { onUnauthorized = callback; }

export function authorization() { return sessionStorage.getItem(KEY); }

export function signIn(user, secret) {
  const utf8 = String.fromCharCode(...new TextEncoder().encode(`${user}:${secret}`));
  sessionStorage.setItem(KEY, user ? `Basic ${btoa(utf8)}` : `Bearer ${secret}`);
}

export function signOut() { sessionStorage.removeItem(KEY); }

export function withRights(headers = {}) {
  const value = authorization();
  // The second field keeps the server from asking in a way that makes the browser open a window of its own.
  return { ...headers, ...(value ? { Authorization: value } : {}), "X-Requested-With": "XMLHttpRequest" };
}

// An answer that is no success, with the sentence that the server gave.
export class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

export function refusal(status, body) {
  if (status === 401) onUnauthorized();
  let text = "";
  try { text = JSON.parse(body).text; } catch { /* not from us: a proxy's page */ }
  return new Refused(status, text || `The server answered ${status}.`);
}

export async function ask(method, url, headers = {}) {
  const answer = await fetch(url, { method, headers: withRights(headers), cache: "no-store", redirect: "error" });
  if (!answer.ok) throw refusal(answer.status, method === "HEAD" ? "" : await answer.text());
  return answer;
}

export async function json(url) {
  return (await ask("GET", url, { Accept: "application/json" })).json();
}

export function storeUrl(location) {
  return "store/" + location.split("/").map(encodeURIComponent).join("/");
}

// Sends a file with progress, which fetch cannot tell. `told` gets the share 0..1; resolves to the status.
export function send(method, location, file, headers, told, started = () => {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, storeUrl(location));
    const all = withRights({ "Content-Type": file.type || "application/octet-stream", ...headers });
    for (const [name, value] of Object.entries(all)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => told(event.total ? event.loaded / event.total : 0);
    request.onload = () => (request.status < 300
      ? resolve(request.status) : reject(refusal(request.status, request.responseText)));
    request.onerror = () => reject(new Refused(0, "The connection was lost: nothing was stored."));
    request.onabort = () => reject(new Refused(0, "Cancelled: nothing was stored."));
    started(() => request.abort());
    request.send(file);
  });
}
