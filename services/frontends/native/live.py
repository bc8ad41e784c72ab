"""GET /events: server-sent events for the dashboard, from one snapshot a second that all listeners share.

    event: hello  {"fields": [...], "samples": [[...], ...], "feed": [...]}   the last ten minutes
    event: tick   {"now": <monitor.Snapshot>, "sample": [...]}                every second
    event: feed   [{"number", "time", "id", "location", "state", "text"}]     as it happens

At most MAX_LISTENERS listen. When all places are taken, the client (see `client_of`) with the most of them
loses one to a client with fewer, so that no single client keeps the others out. A listener that reads too
slowly is cut off; it may come back for a new hello.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import msgspec
from tornado.iostream import StreamClosedError

from common.errors import Busy
from services.frontends.native.status import StatusHandler
from services.rules.clients import client_of
from services.watch.monitor import Monitor
from services.watch.samples import Sample

log = logging.getLogger(__name__)

MAX_LISTENERS = 32
MAX_WAITING = 64  # messages for one listener: half a minute of them
_FEED_EVERY_S = 0.1


class LiveStream:
    """The messages for one stream of `client`; None is the end."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)


class LiveFeed:
    """The listeners. Used only from the event loop; without listeners it does nothing."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._listeners: dict[LiveStream, None] = {}  # oldest first
        self._told = 0  # the last number of the feed that was sent
        self._looking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        monitor.on_tick = self._tick

    def join(self, client: str) -> LiveStream:
        """A new listener, who gets the past first. Raises Busy."""
        if len(self._listeners) >= MAX_LISTENERS:
            self._make_room(client)
        monitor = self._monitor
        if not self._listeners:
            self._told = monitor.feed.number
            self._timer = asyncio.get_running_loop().call_later(_FEED_EVERY_S, self._tell_feed)
        listener = LiveStream(client)
        self._listeners[listener] = None
        hello = {
            "fields": Sample.__struct_fields__,
            "samples": list(monitor.samples.kept),
            "feed": [entry for entry in monitor.feed.after(0) if entry.number <= self._told],
        }
        listener.messages.put_nowait(_message("hello", hello))
        self._tick()  # the first look at once
        return listener

    def _make_room(self, client: str) -> None:
        """End the oldest stream of the client that has most, if `client` has fewer even with one more."""
        held = Counter(listener.client for listener in self._listeners)
        ((greediest, most),) = held.most_common(1)
        if most <= held[client] + 1:
            raise Busy(f"{MAX_LISTENERS} dashboards are open: close one, or try again in a moment.")
        self._end(next(listener for listener in self._listeners if listener.client == greediest))

    def leave(self, listener: LiveStream) -> None:
        """It listens no more. Idempotent."""
        self._listeners.pop(listener, None)
        if not self._listeners and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """End all streams: the server stops."""
        for listener in list(self._listeners):
            self._end(listener)

    def _tick(self) -> None:
        if self._listeners and self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._tell_now())

    async def _tell_now(self) -> None:
        try:
            now = await self._monitor.look()
            samples = self._monitor.samples.kept
            self._tell(_message("tick", {"now": now, "sample": samples[-1] if samples else None}))
        except Exception:  # the next tick tries again
            log.exception("no news for the dashboard")
        finally:
            self._looking = None

    def _tell_feed(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_FEED_EVERY_S, self._tell_feed)
        feed = self._monitor.feed
        if feed.number > self._told:
            self._tell(_message("feed", feed.after(self._told)))
            self._told = feed.number

    def _tell(self, message: bytes) -> None:
        for listener in list(self._listeners):
            try:
                listener.messages.put_nowait(message)
            except asyncio.QueueFull:
                log.info("a dashboard is too slow, and is cut off")
                self._end(listener)

    def _end(self, listener: LiveStream) -> None:
        self.leave(listener)
        while listener.messages.full():
            listener.messages.get_nowait()
        listener.messages.put_nowait(None)


def _message(event: str, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(data))


class EventsHandler(StatusHandler):
    """/events"""

    ENDLESS = True  # how long a dashboard was open is no latency
    _listener: LiveStream | None = None

    @property
    def live(self) -> LiveFeed:
        """The server's one."""
        live: LiveFeed = self.settings["live"]
        return live

    async def get(self) -> None:
        """The stream; see the module docstring."""
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would keep it back
        self.set_header("Connection", "close")  # nothing follows it, least of all when the server stops
        if self.request.method == "HEAD":
            return
        listener = self._listener = self.live.join(client_of(self.request.remote_ip or ""))
        try:
            while (message := await listener.messages.get()) is not None:
                self.write(message)
                await self.flush()
        except StreamClosedError:
            pass  # the dashboard was closed
        finally:
            self.live.leave(listener)

    head = get

    def on_connection_close(self) -> None:
        """The dashboard was closed while there was nothing to tell."""
        super().on_connection_close()
        if self._listener is not None:
            self.live.leave(self._listener)
            if not self._listener.messages.full():
                self._listener.messages.put_nowait(None)
