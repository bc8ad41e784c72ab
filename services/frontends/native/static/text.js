// Numbers, times and elements for people. User-controlled text is only ever set as textContent.

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  let at = 0;
  while (n >= 1024 && at < UNITS.length - 1) { n /= 1024; at += 1; }
  return at ? `${n.toFixed(n < 10 ? 1 : 0)} ${UNITS[at]}` : `${Math.round(n)} ${n === 1 ? "byte" : "bytes"}`;
}

export function count(n) {
  if (n === null || n === undefined) return "–";
  return Math.round(n).toLocaleString("en");
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export function clock(rfc3339) {
  const at = new Date(rfc3339);
  return Number.isNaN(at.getTime()) ? rfc3339 : at.toLocaleTimeString("en-GB");
}

export function moment(rfc3339) {
  const at = new Date(rfc3339);
  return Number.isNaN(at.getTime()) ? rfc3339 : `${at.toLocaleDateString("en-CA")} ${at.toLocaleTimeString("en-GB")}`;
}

export function byId(id) {
  return document.getElementById(id);
}

// An element with properties and children; strings become text.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Sets text only where it changed, so that nothing is read out or redrawn for nothing.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
