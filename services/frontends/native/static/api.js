// Requests to this server with the caller's own rights. The secret stays in this tab's sessionStorage.

const KEY = "blobkeep-authorization";
let onUnauthorized = () => {};

export function whenUnauthorized(callback) { onUnauthorized = callback; }

export function authorization() { return sessionStorage.getItem(KEY); }

// The header field for a user and password, or for a token where there is no user.
export function tokenOf(user, secret) {
  const utf8 = String.fromCharCode(...new TextEncoder().encode(`${user}:${secret}`));
  return user ? `Basic ${btoa(utf8)}` : `Bearer ${secret}`;
}

export function keep(header) { sessionStorage.setItem(KEY, header); }

export function signOut() { sessionStorage.removeItem(KEY); }

export function withRights(headers = {}) {
  const value = authorization();
  // The second field keeps the server from asking in a way that makes the browser open a window of its own.
  return { ...headers, ...(value ? { Authorization: value } : {}), "X-Requested-With": "XMLHttpRequest" };
}

// An answer that is no success, with the sentence that the server gave. Status 0: there was no answer.
export class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

export function refusal(status, body, quiet = false) {
  if (status === 401 && !quiet) onUnauthorized();
  let text = "";
  try { text = JSON.parse(body).text; } catch { /* not from us: a proxy's page */ }
  return new Refused(status, text || `The server answered ${status}.`);
}

export async function ask(method, url, headers = {}) {
  let answer;
  try {
    answer = await fetch(url, { method, headers: withRights(headers), cache: "no-store", redirect: "error" });
  } catch {
    throw new Refused(0, "The server does not answer.");
  }
  if (!answer.ok) throw refusal(answer.status, method === "HEAD" ? "" : await answer.text());
  return answer;
}

export async function json(url, method = "GET") {
  return (await ask(method, url, { Accept: "application/json" })).json();
}

function path(location) { return location.split("/").map(encodeURIComponent).join("/"); }

export function storeUrl(location) { return `store/${path(location)}`; }

// A signed link that lasts `seconds`: { url (whole), expires }.
export async function signedLink(location, seconds) {
  const made = await json(`tickets/${path(location)}?for=${seconds}`, "POST");
  return { ...made, url: new URL(made.url, document.baseURI).href };
}

// A link that the browser can save as it comes: it sends no token with links. Good for a minute.
export async function downloadUrl(location) {
  return authorization() ? (await json(`tickets/${path(location)}`, "POST")).url : storeUrl(location);
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
