"""The server's side of reader processes: shows them blobs, and goes on with connections they hand over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence

import msgspec

from common.config import Config, reader_count
from common.errors import BlobkeepError
from services.access.decisions import Access
from services.engine import Engine, Sharing
from services.frontends.native.quick_reads import QuickReads
from services.frontends.native.ready_answers import ReadyAnswers
from services.http1 import Handed, HTTPServer
from services.readers.channel import Channel
from services.readers.messages import (
    Ask,
    Counts,
    Hello,
    Here,
    KnownClient,
    Over,
    Renew,
    Told,
    answers_by,
    decode_of_reader,
    encode,
)
from services.watch.request_log import RequestLog

log = logging.getLogger("server")

_ACCEPT_PAUSE_S = 0.5
_LAST_WORDS_S = 1.0  # how long a drain waits for the readers' last messages

Adopt = Callable[[socket.socket, Handed], None]
"""See HTTPServer.adopt."""


class Host:
    """`listening`: the sockets that readers accept on, too."""

    def __init__(
        self,
        sharing: Sharing,
        config: Config,
        access: Access,
        requests: RequestLog,
        adopt: Adopt,
        listening: Sequence[socket.socket],
    ) -> None:
        self._sharing = sharing
        self._config = config
        self._access = access
        self._requests = requests
        self._adopt = adopt
        self._listening = listening
        self._most = reader_count(config)
        self._readers: dict[int, _Reader] = {}  # by number
        self._coming: set[_Reader] = set()  # that have said nothing yet
        self._watching: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        access.on_replaced.append(sharing.new_rights)
        self._door: socket.socket | None = None

    def start(self) -> None:
        """Let readers in. Raises OSError."""
        self._door = self._sharing.listen()
        self._listen()
        self._watching = self._loop.create_task(self._watch())

    async def close(self) -> None:
        """Stop the readers. All that they were about to hand over has come, and is served."""
        if self._pause is not None:
            self._pause.cancel()
        if self._door is not None:
            self._loop.remove_reader(self._door.fileno())
            self._door.close()
        if self._watching is not None:
            self._watching.cancel()
        for reader in self._there():
            reader.channel.end()
        end = self._loop.time() + _LAST_WORDS_S
        while self._there() and self._loop.time() < end:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(0.005)
        for reader in self._there():
            reader.channel.read_all()
            reader.channel.close()

    def _there(self) -> list[_Reader]:
        return [*self._readers.values(), *self._coming]

    async def _watch(self) -> None:
        try:
            await self._sharing.watch()
        except OSError:
            log.exception("what reader processes believe cannot be ended: stop them with the server")

    def _accept(self) -> None:
        assert self._door is not None
        try:
            sock = self._door.accept()[0]
        except OSError:  # no descriptor is left: who comes waits, or each turn of the loop would try
            self._loop.remove_reader(self._door.fileno())
            self._pause = self._loop.call_later(_ACCEPT_PAUSE_S, self._listen)
        else:
            self._coming.add(_Reader(self, sock))

    def _listen(self) -> None:
        assert self._door is not None
        self._loop.add_reader(self._door.fileno(), self._accept)

    # For the readers' connections.

    def admit(self, reader: _Reader, wanted: int | None) -> int | None:
        """The number of a new reader; None if there are enough."""
        self._coming.discard(reader)
        free = [number for number in range(self._most) if number not in self._readers]
        if not free:
            return None
        number = wanted if wanted in free else free[0]
        self._readers[number] = reader
        return number

    def greet(self, number: int) -> tuple[bytes, list[int]]:
        """What a reader needs to begin. Raises OSError."""
        shared = self._sharing.descriptors()
        hello = Hello(
            number,
            self._sharing.epoch,
            len(shared),
            self._access.is_open,
            self._access.hosts.guards,
            answers_by(self._config),
        )
        given = [*shared]
        try:
            for sock in self._listening:
                given.append(os.dup(sock.fileno()))
        except OSError:  # a reader asks again and again: none may stay open
            for fd in given:
                os.close(fd)
            raise
        return encode(hello), given

    def left(self, reader: _Reader) -> None:
        """It is gone."""
        self._coming.discard(reader)
        for number, one in list(self._readers.items()):
            if one is reader:
                del self._readers[number]

    async def tell(self, asked: Ask) -> Told:
        """Answer a reader. When this returns, the blob is in the table, if it can be."""
        rights = self._sharing.rights  # before anybody is looked up: who is judged by older rules is void
        client = None
        if asked.authorization and not self._access.is_open:
            with contextlib.suppress(BlobkeepError):
                found = await self._access.identify(asked.authorization)
                client = KnownClient(found.name, found.role, found.prefix)
        shown = False
        with contextlib.suppress(BlobkeepError):
            shown = await self._sharing.show(asked.location)
        return Told(asked.number, shown, client, rights)

    def renew_certificates(self) -> None:
        """Ours was read again."""
        for reader in self._readers.values():
            reader.channel.send(encode(Renew()))

    def take_over(self, over: Over, fd: int) -> None:
        """Go on with a client's connection."""
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        self._adopt(sock, over.handed)

    def count(self, counts: Counts) -> None:
        """A reader has answered requests."""
        for method, tally in counts.tallies.items():
            self._requests.add(method, tally)
        for status, count in counts.refusals.items():
            self._requests.refusals[status] = self._requests.refusals.get(status, 0) + count


def begin(
    engine: Engine,
    config: Config,
    access: Access,
    requests: RequestLog,
    server: object,
    listening: Sequence[socket.socket],
    quick: QuickReads | None = None,
) -> Host | None:
    """Let in the reader processes that the configuration wants; None if there can be none.

    `quick`: answers plain reads in this process. On new connections it now does so as quickly as readers do.
    """
    if config.readers > 0 and not reader_count(config):
        log.warning("there are no reader processes: docs/scaling.md says with which options there are none")
    if not isinstance(server, HTTPServer):
        return None
    try:
        sharing = engine.sharing()
        if sharing is None:
            return None
        if quick is not None and requests.access is None:
            ready = ReadyAnswers(quick, requests, server.known_heads, config.hot_bytes)
            ready.use(sharing)
            server.answer_from(ready)
        host = Host(sharing, config, access, requests, server.adopt, listening)
        host.start()
    except OSError as err:
        log.warning("there are no reader processes, since nothing can be shared with them: %s", err)
        return None
    return host


class _Reader:
    """One reader's connection."""

    def __init__(self, host: Host, sock: socket.socket) -> None:
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()
        self.channel = Channel(sock, self._received, self._lost)

    def _lost(self) -> None:
        self._host.left(self)
        for task in self._tasks:
            task.cancel()

    def _received(self, message: bytes, descriptors: list[int]) -> None:
        try:
            said = decode_of_reader(message)
            fits = len(descriptors) == isinstance(said, Over)
        except msgspec.DecodeError:
            fits = False
        if not fits:
            log.error("a reader said what is not understood: its connection is closed")
            for fd in descriptors:
                os.close(fd)
            self.channel.close()
            self._lost()
        elif isinstance(said, Over):
            self._host.take_over(said, descriptors[0])
        elif isinstance(said, Ask):
            task = asyncio.get_running_loop().create_task(self._answer(said))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(said, Counts):
            self._host.count(said)
        elif isinstance(said, Here):
            self._greet(said)

    def _greet(self, said: Here) -> None:
        number = self._host.admit(self, said.number)
        try:
            if number is None:
                raise OSError("there are enough readers")
            self.channel.send(*self._host.greet(number))
        except OSError as err:
            log.warning("a reader cannot begin: %s", err)
            self.channel.close()
            self._lost()

    async def _answer(self, asked: Ask) -> None:
        told = Told(asked.number, False, None, 0)  # after an error that nobody expects: its client waits
        try:
            told = await self._host.tell(asked)
        finally:
            self.channel.send(encode(told))
