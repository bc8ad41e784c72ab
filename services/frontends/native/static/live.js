// The stream of server-sent events, read with fetch: an EventSource cannot send the caller's token.

import { withRights } from "./api.js";

const SILENCE_MS = 3000; // a server that says nothing for so long is down, or hangs
const RETRY_MS = 1000;
const HIDDEN_MS = 60_000;

// `message`: "event: NAME\ndata: JSON". Cut, not matched: a name may have any character, U+2028 among them.
function tell(handlers, message) {
  const end = message.indexOf("\n");
  const event = message.slice("event: ".length, end);
  handlers[event](JSON.parse(message.slice(end + "\ndata: ".length)));
}

// `handlers`: by event, and `lost(status, text)`: called whenever there is no stream.
export function listen(handlers) {
  let stop = new AbortController();

  async function stream() {
    const guard = new AbortController();
    let timer = 0;
    const heard = () => { clearTimeout(timer); timer = setTimeout(() => guard.abort(), SILENCE_MS); };
    stop.signal.addEventListener("abort", () => guard.abort());
    heard();
    try {
      const answer = await fetch("events", { headers: withRights(), signal: guard.signal, cache: "no-store" });
      if (!answer.ok) {
        let text = "";
        try { text = (await answer.json()).text; } catch { /* not from us */ }
        handlers.lost(answer.status, text);
        return answer.status;
      }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        heard();
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) {
          // A mistake of ours must not look like a lost connection.
          try { tell(handlers, part); } catch (error) { reportError(error); }
        }
      }
    } catch (error) {
      if (!(error instanceof TypeError || error.name === "AbortError")) throw error;
    } finally {
      clearTimeout(timer);
      guard.abort();
    }
    if (!stop.signal.aborted) handlers.lost(0, "");
    return 0;
  }

  // A tab that nobody sees gives its connection back after a while: browsers have six for one server.
  let hiddenTimer = 0;
  let resume = () => {};
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(() => stop.abort(), HIDDEN_MS);
    else resume();
  });
  const seen = () => new Promise((resolve) => { resume = resolve; if (!document.hidden) resolve(); });

  (async () => {
    for (;;) {
      stop = new AbortController();
      await seen();
      const status = await stream();
      const forbidden = status === 401 || status === 403; // only another token changes that
      if (!stop.signal.aborted) await new Promise((resolve) => {
        const timer = forbidden ? 0 : setTimeout(resolve, RETRY_MS);
        stop.signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
      });
    }
  })();
}
