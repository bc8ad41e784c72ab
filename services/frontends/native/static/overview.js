// Processes, tiles, meters, checks and damaged blobs: everything that a tick tells.

import { blobHref } from "./routes.js";
import { byId, bytes, count, duration, element, say } from "./text.js";

const LOOK = { up: "good", stalled: "warn", stopped: "bad", down: "bad", never: "bad" };
const WORD = { up: "Running", stalled: "Not responding", stopped: "Stopped", down: "Down", never: "Never ran here" };
const TITLE = { server: "Server", gc: "Garbage collector", recovery: "Recovery worker" };
const FIELDS = ["pid", "uptime", "memory", "CPU", "restarts", "crashes"];
const cards = new Map();

function card(name) {
  if (!cards.has(name)) {
    const word = element("span", { class: "word" });
    const list = element("dl");
    const values = {};
    for (const field of FIELDS) {
      values[field] = element("dd", {}, "–");
      list.append(element("dt", {}, field), values[field]);
    }
    const last = element("p");
    const root = element("article", { class: "card", id: `process-${name}` },
      element("div", { class: "card-head" }, element("span", {}, TITLE[name] || name.replace(/^reader-/, "Reader ")), word), list, last);
    byId("processes").append(root);
    cards.set(name, { root, word, values, last });
  }
  return cards.get(name);
}

function lastPass(one) {
  const last = one.last_pass;
  if (!last) return one.name === "server" ? "Serves requests." : one.name.startsWith("reader-") ? "Answers plain reads." : "";
  const ago = `last pass ${duration(Math.max(1, one.heard_s_ago))} ago`;
  if (last.error) return `${ago}: failed, ${last.error}`;
  if (one.name === "gc") {
    const what = last.found || last.removed
      ? `removed ${count(last.removed)} of ${count(last.found)}, freed ${bytes(last.freed_bytes)}` : "nothing to remove";
    return `${ago}: ${what}${last.errors ? `, ${count(last.errors)} errors` : ""}; ${count(one.totals.removed)} removed in all`;
  }
  const scrub = one.scrub;
  return scrub ? `${ago}: ${count(scrub.checked)} blobs re-read, ${count(scrub.damaged)} damaged` : ago;
}

export function showProcesses(processes) {
  for (const one of processes) {
    const shown = card(one.name);
    shown.root.className = `card ${LOOK[one.state]}`;
    say(shown.word, WORD[one.state]);
    const cpu = one.cpu_percent === null ? "–" : `${one.cpu_percent.toFixed(one.cpu_percent < 10 ? 1 : 0)} %`;
    const values = [one.pid ?? "–", duration(one.uptime_s), bytes(one.memory_bytes), one.state === "up" ? cpu : "–",
      count(Math.max(0, one.starts - 1)), count(one.crashes)];
    FIELDS.forEach((field, at) => say(shown.values[field], String(values[at])));
    say(shown.last, lastPass(one));
  }
}

// Without news nobody knows how the processes are; but a server that says nothing is no good.
export function showNoContact() {
  for (const [name, shown] of cards) {
    shown.root.className = name === "server" ? "card bad" : "card";
    say(shown.word, name === "server" ? "No answer" : "Unknown");
    say(shown.last, "");
  }
}

function tile(id, name, value, note, look = "") {
  let root = byId(id);
  if (!root) {
    root = element("div", { class: "tile", id }, element("dt", {}, name), element("dd", {}, element("span"), element("small")));
    byId("tiles").append(root);
  }
  root.className = `tile ${look}`;
  say(root.querySelector("span"), value);
  say(root.querySelector("small"), note);
}

export function showStore(now) {
  const c = now.counts;
  tile("tile-ok", "Blobs", count(c.blobs), bytes(c.bytes));
  tile("tile-pending", "Being written", count(c.pending), `${count(c.uploads)} uploads, ${bytes(c.pending_bytes)}`);
  tile("tile-failure", "Waiting for the gc", count(c.failures), bytes(c.failure_bytes));
  tile("tile-damaged", "Damaged", count(c.damaged), c.damaged ? "see above" : "none known", c.damaged ? "bad" : "");
  tile("tile-recovery", "Last start", duration(now.recovered.seconds),
    `${count(now.recovered.live)} blobs, ${count(now.recovered.interrupted)} interrupted`);
  showRequests(now.requests);
  const { disk } = now;
  const isRemote = Object.keys(now.requests).length > 0;  // then neither disk nor ids have an end here
  byId("disk").parentElement.hidden = isRemote;
  if (disk) meter("disk", disk.size_bytes - disk.free_bytes, disk.size_bytes, 0.85, 0.95);
  say(byId("disk-text"), disk ? `${bytes(disk.free_bytes)} free of ${bytes(disk.size_bytes)}` : "gone");
  byId("ids").parentElement.hidden = c.ids === null;
  meter("ids", c.ids - c.ids_left, c.ids, 0.85, 0.95);
  say(byId("ids-text"), `${count(c.ids_left)} left of ${count(c.ids)}`);
  showScrub(now.processes.find((one) => one.name === "recovery")?.scrub);
  showChecks(now.checks);
  showDamaged(now.damaged);
}

// Of an engine behind a network: what its requests took since the last tick, and what failed since the start.
let requestsBefore = {};
function showRequests(requests) {
  for (const [kind, now] of Object.entries(requests)) {
    const before = requestsBefore[kind] ?? { count: 0, seconds: 0 };
    const done = now.count - before.count;
    const took = done > 0 ? `${((now.seconds - before.seconds) / done * 1000).toFixed(1)} ms` : "–";
    tile(`tile-store-${kind}`, `Store: ${kind}`, took, `${count(now.count)} requests, ${count(now.errors)} errors`,
      now.errors > (before.errors ?? now.errors) ? "bad" : "");
  }
  requestsBefore = requests;
}

function meter(id, value, all, high, full) {
  const node = byId(id);
  node.max = all;
  node.optimum = 0;
  node.low = high * all;
  node.high = full * all;
  node.value = value;
}

function showScrub(scrub) {
  const bar = byId("scrub");
  if (!scrub) {
    bar.value = 0;
    say(byId("scrub-text"), "not known");
  } else if (scrub.round_blobs) {
    bar.value = 1 - scrub.round_left / scrub.round_blobs;
    say(byId("scrub-text"), `${count(scrub.round_left)} of ${count(scrub.round_blobs)} blobs left in this round`);
  } else {
    bar.value = 1;
    const left = scrub.next_round_s - Date.now() / 1000;
    say(byId("scrub-text"), `${bytes(scrub.checked_bytes)} re-read; the next round begins in ${duration(Math.max(0, left))}`);
  }
}

function showChecks(checks) {
  const list = byId("checks");
  checks.forEach((check, at) => {
    const item = list.children[at] || list.appendChild(element("li"));
    item.className = check.ok ? "good" : "bad";
    say(item, check.ok ? check.name : `${check.name}: ${check.text}`);
    item.title = `${check.text}${check.age_s === null ? "" : ` Seen ${duration(check.age_s)} ago.`}`;
  });
  while (list.children.length > checks.length) list.lastChild.remove();
}

let damagedShown = "";
function showDamaged(damaged) {
  byId("damaged").hidden = !damaged.length;
  const text = JSON.stringify(damaged);
  if (text === damagedShown) return;
  damagedShown = text;
  byId("damaged-rows").replaceChildren(...damaged.map((one) => element("tr", {},
    element("td", { "data-name": "Location" }, one.location ?? "unknown"), element("td", { "data-name": "Id", class: "number" }, String(one.id)),
    element("td", { "data-name": "What is wrong" }, one.reason),
    element("td", { "data-name": "Kept as" }, one.quarantine ? `.quarantine/${one.quarantine}` : "on its way"),
    element("td", { "data-name": "What to do" }, one.location === null ? "blobkeep quarantine show"
      : element("a", { href: blobHref(one.location) }, "Upload or delete")))));
}
