// The plots of the last ten minutes, drawn by uPlot from one sample a second.

import { byId, bytes, count } from "./text.js";

const KEPT = 600;
const LEAST_S = 60; // what the plots of a server that has just started span
const STEPS_S = [5, 10, 15, 30, 60, 120, 180, 300, 600]; // between two times of an axis
const TIME_PX = 75; // what one of them takes
// Per plot: element, how its left axis is written and what it spans at least, series (field, label, tone) on
// the left and on the right, where they are bytes.
const PLOTS = [
  ["plot-requests", count, 5, [["requests", "requests", 1], ["errors", "of these 5xx", 2]]],
  ["plot-latency", (v) => v.toFixed(v < 10 ? 1 : 0), 1, [["p50_ms", "half under", 1], ["p99_ms", "99 % under", 2]]],
  ["plot-bytes", bytes, 1024, [["bytes_out", "sent", 1], ["bytes_in", "received", 2]]],
  ["plot-workers", count, 5, [["removed", "blobs removed", 1]], [["freed_bytes", "freed", 2], ["scrubbed_bytes", "re-read", 3]]],
];
let fields = [];
let samples = [];
let drawn = [];

export function begin(hello) {
  fields = hello.fields;
  samples = hello.samples;
  draw();
}

export function add(sample) {
  if (!sample || (samples.length && samples.at(-1)[0] === sample[0])) return;
  samples.push(sample);
  if (samples.length > KEPT) samples.shift();
  if (!document.hidden) draw();
}

function columns(series) {
  return [samples.map((one) => one[0]), ...series.map(([field]) => {
    const at = fields.indexOf(field);
    return samples.map((one) => one[at]);
  })];
}

function draw() {
  if (!drawn.length) make();
  const now = samples.length ? samples.at(-1)[0] : Date.now() / 1000;
  for (const { plot, series, least } of drawn) {
    plot.setData(columns(series), false);
    const since = samples.length ? samples[0][0] : now;
    plot.setScale("x", { min: Math.max(now - KEPT, Math.min(since, now - LEAST_S)), max: now });
    for (const scale of ["y", "right"]) if (plot.scales[scale]) plot.setScale(scale, { min: 0, max: top(plot, scale, least) });
  }
}

function top(plot, scale, least) {
  let most = 0;
  plot.series.forEach((one, at) => {
    if (at && one.scale === scale) for (const value of plot.data[at]) if (value > most) most = value;
  });
  return Math.max(most * 1.1, scale === "right" ? 1024 : least);
}

function make() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  drawn = PLOTS.map(([id, format, least, left, right = []]) => {
    const series = [...left, ...right];
    const scaleOf = (at) => (at < left.length ? "y" : "right");
    const formats = series.map((_, at) => (at < left.length ? format : bytes));
    const options = {
      ...size(id),
      padding: [8, right.length ? 4 : 28, 0, 0], // half of the last time of the axis
      cursor: { y: false },
      legend: { live: true },
      scales: { x: { auto: false }, y: { auto: false }, ...(right.length ? { right: { auto: false } } : {}) },
      axes: [
        { ...axis, size: 30, splits: (plot, _, since, now) => times(since, now, plot.bbox.width / devicePixelRatio), values: (_, ticks) => ticks.map((t) => new Date(t * 1000).toLocaleTimeString("en-GB")) },
        { ...axis, size: 66, values: (_, ticks) => ticks.map(format) },
        ...(right.length ? [{ ...axis, side: 1, scale: "right", size: 80, grid: { show: false }, values: (_, ticks) => ticks.map(bytes) }] : []),
      ],
      series: [
        { label: "time", value: (_, v) => (v ? new Date(v * 1000).toLocaleTimeString("en-GB") : "") },
        ...series.map(([, label, tone], at) => ({
          label, scale: scaleOf(at), width: 1.5, stroke: colour(`--plot-${tone}`), points: { show: false },
          fill: at ? undefined : `${colour(`--plot-${tone}`)}22`, value: (_, v) => (v === null || v === undefined ? "" : formats[at](v)),
        })),
      ],
    };
    return { id, series, least, plot: new window.uPlot(options, columns(series), byId(id)) };
  });
}

// Times for an axis this wide. All lie between its ends: uPlot's own choice can lie beyond them, and is cut off there.
export function times(since, now, width_px) {
  const step = STEPS_S.find((one) => (now - since) / one * TIME_PX <= width_px) ?? STEPS_S.at(-1);
  const first = Math.ceil(since / step) * step;
  return Array.from({ length: Math.floor((now - first) / step) + 1 }, (_, at) => first + at * step);
}

const LEGEND_PX = 52; // two lines of it

function size(id) {
  const box = byId(id);
  return { width: Math.max(200, box.clientWidth), height: Math.max(100, box.clientHeight - LEGEND_PX) };
}

new ResizeObserver(() => { for (const { id, plot } of drawn) plot.setSize(size(id)); }).observe(document.body);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { plot } of drawn) plot.destroy();
  drawn = [];
  draw();
});
