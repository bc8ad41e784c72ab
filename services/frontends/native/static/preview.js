// What a blob looks like, where that is safe and small: pixels of an image, text of a text.
//
// Nothing of a blob can act here: an image is decoded to pixels on a canvas, and text is only ever text. What is
// neither (HTML, SVG and PDF as such) is not shown.

import { storeUrl, withRights } from "./api.js";
import { bytes, element, say } from "./text.js";

const IMAGES = /^image\/(png|jpeg|gif|webp|avif|bmp)\b/i;
const TEXTS = /^(text\/|application\/(json|xml|javascript|yaml|toml|x-sh|x-ndjson)|image\/svg)|\+(json|xml)\b/i;
const AT_ONCE_BYTES = 4 << 20; // a larger image is shown on demand
const MOST_BYTES = 64 << 20;
const TEXT_BYTES = 64 << 10;
const MOST_PIXELS = 1600;
let shown = 0;

export function preview(box, location, headers) {
  const number = shown += 1;
  const type = headers.get("Content-Type") ?? "";
  const size = Number(headers.get("Content-Length"));
  const isCurrent = () => number === shown;
  const note = (text) => { if (isCurrent()) box.replaceChildren(element("p", { class: "soft" }, text)); };
  const run = (made) => made.then((node) => { if (isCurrent()) box.replaceChildren(node); },
    () => note("There is no preview: it cannot be read as what its type says."));
  if (!size) note("It is empty.");
  else if (headers.get("Content-Encoding")) note(`No preview: it is kept compressed (${headers.get("Content-Encoding")}).`);
  else if (IMAGES.test(type) && size <= AT_ONCE_BYTES) run(image(location));
  else if (IMAGES.test(type) && size <= MOST_BYTES) {
    const button = element("button", { type: "button" }, `Show the image (${bytes(size)})`);
    button.addEventListener("click", () => { say(button, "Loading"); run(image(location)); });
    box.replaceChildren(button);
  } else if (TEXTS.test(type)) run(text(location, size));
  else note(`No preview of ${type || "this type"}.`);
}

async function bytesOf(location, headers = {}) {
  const answer = await fetch(storeUrl(location), { headers: withRights(headers), cache: "no-store" });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer;
}

async function image(location) {
  const pixels = await createImageBitmap(await (await bytesOf(location)).blob());
  const scale = Math.min(1, MOST_PIXELS / Math.max(pixels.width, pixels.height));
  const canvas = element("canvas", { role: "img", "aria-label": `The image, ${pixels.width} by ${pixels.height} pixels` });
  canvas.width = Math.max(1, Math.round(pixels.width * scale));
  canvas.height = Math.max(1, Math.round(pixels.height * scale));
  canvas.getContext("2d").drawImage(pixels, 0, 0, canvas.width, canvas.height);
  pixels.close();
  return element("figure", {}, canvas, element("figcaption", {}, `${canvas.getAttribute("aria-label")}.`));
}

async function text(location, size) {
  const answer = await bytesOf(location, { Range: `bytes=0-${TEXT_BYTES - 1}` });
  const told = new TextDecoder().decode(await answer.arrayBuffer());
  const box = element("pre", { tabindex: "0", role: "region", "aria-label": "The text" }, told);
  return element("figure", {}, box, ...(size > TEXT_BYTES ? [element("figcaption", {}, `The first ${bytes(TEXT_BYTES)}.`)] : []));
}
