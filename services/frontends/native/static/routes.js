// What the address says: every folder and every blob has one, so that Back, reload and bookmarks work.
//
//   #/                   how the server is
//   #/blobs/photos/2026/ a folder; without the last slash, what begins so
//   #/blob/photos/a.jpg  a blob
//   #/id/13342           a blob by its id, whatever its state

const encode = (path) => path.split("/").map(encodeURIComponent).join("/");

function decode(path) {
  try { return decodeURIComponent(path); } catch { return path; } // typed by hand
}

export function folderHref(prefix) { return `#/blobs/${encode(prefix)}`; }

export function blobHref(location) { return `#/blob/${encode(location)}`; }

export function idHref(id) { return `#/id/${encodeURIComponent(id)}`; }

export const OVERVIEW = "#/";

// { view: "overview" | "blobs" | "blob" | "id", path }
export function here() {
  const found = location.hash.match(/^#\/(blobs|blob|id)(?:\/(.*))?$/s);
  if (!found) return { view: "overview", path: "" };
  return { view: found[1], path: decode(found[2] ?? "") };
}

export function go(href) { location.hash = href; }

// Where the reader stands, without a step for Back.
export function replace(href) { history.replaceState(null, "", href); dispatchEvent(new Event("hashchange")); }

export function whenMoved(callback) { addEventListener("hashchange", callback); }

// The folder that a location, or a prefix, is in: "" or ending in a slash.
export function folderOf(path) { return path.slice(0, path.lastIndexOf("/") + 1); }

export function nameOf(path) { return path.slice(path.lastIndexOf("/") + 1); }
