"""The reader's side: finds the server, asks it, hands connections over to it, and outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import ssl
from collections.abc import Callable

import msgspec
from tornado.iostream import StreamClosedError

from common.config import Config
from common.errors import BlobkeepError, Busy, ConfigError, Unavailable
from services.access.certificate import renew
from services.access.hosts import HostNames
from services.engine import Engine, Shared
from services.frontends.native.ready_answers import ReadyAnswers
from services.http1 import Exchange, HTTPServer
from services.readers.channel import Channel
from services.readers.messages import (
    Ask,
    Counts,
    Hello,
    Here,
    Over,
    Renew,
    Told,
    answers_by,
    decode_of_server,
    encode,
)
from services.readers.rights import ToldAccess
from services.store import Blob
from services.watch.request_log import RequestLog

log = logging.getLogger("reader")

_LOOK_EVERY_S = 0.1  # for a server, while there is none
_LAST_WORDS_S = 5.0  # how long the server has to take what we said, when we end
COUNT_EVERY_S = 1.0
# A killed server is mostly back sooner. Clients that wait longer get 503.
PATIENCE_S = 10.0


def nothing_known(location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
    """What a reader knows before it has met its server."""
    return None


class Guest:
    """`on_named`: called with our number, once a server has let us in, and again where it changes."""

    def __init__(
        self,
        engine: Engine,
        access: ToldAccess,
        requests: RequestLog,
        config: Config,
        on_named: Callable[[int], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        # Of `Shared`, of the last server.
        self.peek: Callable[..., tuple[Blob, bytes | memoryview] | None] = nothing_known
        self.server: HTTPServer | None = None  # which accepts while there is a server
        self.ready: ReadyAnswers | None = None
        self.number: int | None = None
        self._engine = engine
        self._access = access
        self._requests = requests
        self._config = config
        self._on_named = on_named
        self._tls = tls
        self._shared: Shared | None = None
        self._channel: Channel | None = None
        self._present = asyncio.Event()  # a server has said hello, and is there
        self._gone = asyncio.Event()
        self.misled = asyncio.Event()  # our options are not the server's: they may be at our next start
        self._asked: dict[int, asyncio.Future[Told | None]] = {}
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Until it is cancelled: stay connected to a server, and to the next one when it is gone."""
        counting = asyncio.ensure_future(self._keep_counting())
        try:
            while True:
                try:
                    sock = await asyncio.to_thread(self._engine.reach_server)
                except (OSError, BlobkeepError):
                    await asyncio.sleep(_LOOK_EVERY_S)
                    continue
                self._gone.clear()
                self._channel = Channel(sock, self._received, self._lost)
                self._channel.send(encode(Here(self.number)))
                await self._gone.wait()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            counting.cancel()
            self.count()
            if self._channel is not None:
                with contextlib.suppress(TimeoutError):  # of what is unsent, connections are lost
                    async with asyncio.timeout(_LAST_WORDS_S):
                        await self._channel.all_sent()
                self._channel.close()

    async def ask(self, location: str, authorization: str | None) -> bool:
        """Ask the server to show the blob at `location`, and whose header this is. False if it shows nothing,
        or is not there."""
        if self._channel is None or not self._present.is_set():
            return False
        number = next(self._numbers)
        answer: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self._channel.send(encode(Ask(number, location, authorization)))
            told = await answer
        finally:
            del self._asked[number]
        if told is not None and told.client is not None and authorization:
            self._access.learn(authorization, told.client, told.rights)
        return told is not None and told.shown

    async def load(self, location: str) -> None:
        """See Shared."""
        if self._shared is not None:
            await self._shared.load(location)

    async def hand_over(self, exchange: Exchange) -> None:
        """Hand a connection over to the server, from this request on.

        Waits for a server if there is none, or if it has not taken what it was sent: those who wait are
        clients of this process, whose number is limited. Raises Unavailable after some seconds, Busy if no
        descriptor is left, StreamClosedError.
        """
        await exchange.all_sent()
        try:
            async with asyncio.timeout(PATIENCE_S):
                channel = await self._channel_with_room()
        except TimeoutError:
            raise Unavailable("The server is starting, or hangs: ask again in a moment.") from None
        try:
            sock, handed = exchange.give_up()
        except StreamClosedError:  # an OSError, too
            raise
        except OSError:
            raise Busy("This reader is out of file descriptors: try again in a moment.") from None
        channel.send(encode(Over(handed)), [sock.detach()])

    async def _channel_with_room(self) -> Channel:
        """That of a server that has taken all that it was sent."""
        while True:
            await self._present.wait()
            channel = self._channel
            assert channel is not None
            if channel.is_open and not channel.has_unsent:
                return channel
            await channel.all_sent()

    def count(self) -> None:
        """Tell the server what was answered since the last report."""
        if self._channel is None or not self._present.is_set():
            return
        tallies, refusals = self._requests.take()
        if tallies or refusals:
            self._channel.send(encode(Counts(tallies, refusals)))

    async def _keep_counting(self) -> None:
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            self.count()

    def _lost(self) -> None:
        """The server is gone. New connections are not accepted until its successor can serve."""
        if self._present.is_set():
            log.info("the server is gone: what it showed is served until another one begins")
        self._present.clear()
        self._gone.set()
        if self._shared is not None:
            self.peek = self._shared.peek_alone
        if self.ready is not None:
            self.ready.use(None)  # alone, more is to be looked at for each answer
        if self.server is not None:
            self.server.stop()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)

    def _received(self, message: bytes, descriptors: list[int]) -> None:
        try:
            said = decode_of_server(message)
            if isinstance(said, Told):
                self._told(said)
            elif isinstance(said, Renew):
                self._renew()
            else:
                self._begin(said, descriptors)
                return
        except (msgspec.DecodeError, BlobkeepError, OSError) as err:
            log.warning("what the server says is of no use: %s", err)
            assert self._channel is not None
            self._channel.close()
            self._lost()

    def _told(self, said: Told) -> None:
        answer = self._asked.get(said.number)
        if answer is not None and not answer.done():
            answer.set_result(said)

    def _renew(self) -> None:
        if self._tls is not None:
            try:
                renew(self._tls, self._config)
            except (ConfigError, OSError) as err:
                log.error("the old certificate goes on, since the new one cannot be used: %s", err)

    def _begin(self, hello: Hello, descriptors: list[int]) -> None:
        """A server lets us in. Raises ConfigError if its options differ from ours."""
        sockets = [socket.socket(fileno=fd) for fd in descriptors[hello.shared :]]
        try:
            if hello.answers_by != answers_by(self._config):
                self.misled.set()
                raise ConfigError("its options are not ours: we were started with others.")
            shared = self._engine.shared(hello.epoch, descriptors[: hello.shared])
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        self._access.hosts = HostNames(self._config.hosts, guards=hello.guards)
        self._access.begin(shared, is_open=hello.is_open)
        self._shared, self.peek = shared, shared.peek
        is_new, self.number = hello.number != self.number, hello.number
        if is_new:
            self._on_named(hello.number)
        assert self.server is not None
        self._renew()  # it may have changed while there was no server
        self.server.known_heads.clear()  # each has what was judged by the host names of before
        if self.ready is not None:
            self.ready.use(shared)
        if self.server.draining:  # we end: whom we accepted now would be cut off
            for sock in sockets:
                sock.close()
        else:
            self.server.add_sockets(sockets)
        self._present.set()
        log.info("reader %d: answers for the server from now on", hello.number)
