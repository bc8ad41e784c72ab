"""One request and its answer: Tornado's HTTPConnection, the writing half of a connection.

A new object for each request, so that an application that writes too late cannot touch the next answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from tornado.escape import native_str
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError

from services.http1.body import BodyDecoder
from services.http1.context import StreamView
from services.http1.detach import detach, relay
from services.http1.handed import Handed
from services.http1.parser import RequestHead
from services.http1.transport import COPY_BYTES

if TYPE_CHECKING:
    from services.http1.connection import Connection

# On their way from the process that answers to the one that speaks TLS. That one takes all that is there at
# once, and holds it twice: plain and encrypted. With the system's 208 KiB fifty silent ones cost it 24 MiB.
RELAY_BYTES = 64 * 1024


class Exchange(HTTPConnection):
    """The `request_conn` of delegates and the `request.connection` of handlers."""

    # Class attributes are the initial values: most requests never set most of them.
    started = False  # something of the answer was written, so nothing else can be answered
    close_callback: Callable[[], None] | None = None
    body: BodyDecoder | None = None  # to be read, if the request has one
    keep_alive = True  # decided when the answer starts
    body_bytes_out = 0  # given to the transport; for whoever counts
    _chunked = False
    _upgrading = False  # 101 was said: `detach` follows
    _left: int | None = None  # bytes of the declared Content-Length that are not written yet

    def __init__(self, connection: Connection, head: RequestHead, head_bytes: bytes) -> None:
        self._connection = connection
        self.context = connection.context
        self.head = head
        self.finished = False
        self._head_bytes = head_bytes  # as it came, without the empty line
        # Whether the whole body came with the head; also where there is none.
        self.body_is_here = 0 <= head.body_bytes <= len(connection.pending)

    # What applications call.

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Write status line and fields, and the first piece of the body with them, in one write.

        Raises ValueError for a line break in a field, HTTPOutputError for a body unlike its Content-Length.
        """
        assert isinstance(start_line, ResponseStartLine)
        code = start_line.code
        head = self.head
        pairs = [*headers.get_all()]
        lines = [f"HTTP/1.1 {code} {start_line.reason}"]
        try:
            lines += [name + ": " + value for name, value in pairs]
        except TypeError:  # bytes among them, as Tornado allows; to look first would cost 1 µs a request
            pairs = [(native_str(name), native_str(value)) for name, value in pairs]
            lines += [name + ": " + value for name, value in pairs]
        fields: Mapping[str, str] = dict(pairs)  # names are normalized; a look-up in `headers` costs 0.5 µs
        if len(fields) < len(pairs):
            fields = headers
        length = fields.get("Content-Length")
        connection = fields.get("Connection")
        if head.start_line.method == "HEAD" or code in (204, 304) or code < 200:
            self._upgrading = code == 101
            self._left = 0  # no body whatever the fields say (RFC 9112 section 6.3)
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                raise ValueError(f"not an integer: {length!r}")
            self._left = int(length)
        elif not head.is_http10 and "Transfer-Encoding" not in fields:
            self._chunked = True
            lines.append("Transfer-Encoding: chunked")
        self.keep_alive = self._connection.may_keep_alive() and (
            connection is None or "close" not in connection.lower()
        )
        if self._left is None and head.is_http10:
            self.keep_alive = (
                False  # RFC 9112 section 7.1: no chunks to 1.0; its body ends with the connection
            )
        if connection is None:
            if not self.keep_alive:
                if not head.is_http10 or head.keep_alive:  # 1.0 closes where nobody asked otherwise
                    lines.append("Connection: close")
            elif head.is_http10:
                lines.append("Connection: Keep-Alive")  # a 1.0 client needs to be told
        text = "\r\n".join(lines)
        breaks = len(lines) - 1
        if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
            raise ValueError(f"Illegal characters (CR or LF) in header: {text!r}")
        data = text.encode("latin1") + b"\r\n\r\n"
        if chunk:
            data += self._framed(chunk)
        self.started = True
        return self._connection.send(self, data)

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Write a piece of the body. The future is done when little enough is unsent to go on.

        It fails with StreamClosedError when the connection is lost. Raises HTTPOutputError as above.
        """
        self.started = True
        return self._connection.send(self, self._framed(chunk))

    @property
    def sends_directly(self) -> bool:
        """Whether `take`, `take_file` and `ready` may be used, for a body of a declared length.

        Not under TLS, nor where no descriptor is left.
        """
        return self._connection.transport.can_send_directly()

    def take(self, data: memoryview) -> int:
        """Write as much from the beginning of `data` as the system takes now, without a copy; how many bytes.

        Nobody refers to `data` afterwards. 0: wait for `ready`. Raises StreamClosedError, HTTPOutputError.
        """
        self._check_direct(len(data))
        sent_bytes = self._connection.transport.send_directly(data)
        self._count(sent_bytes)
        return sent_bytes

    def take_file(self, fd: int, at: int, count: int) -> int:
        """The same for `count` bytes of a file from byte `at` on, which nobody may change any more."""
        self._check_direct(count)
        sent_bytes = self._connection.transport.send_file(fd, at, count)
        self._count(sent_bytes)
        return sent_bytes

    async def ready(self) -> None:
        """Wait until `take` takes something. Raises StreamClosedError."""
        if self.closed():
            raise StreamClosedError
        await self._connection.transport.wait_to_send()

    def finish(self) -> None:
        """The answer is whole. Raises HTTPOutputError, and cuts the connection, if its body is too short."""
        if self._left and not self.closed():
            self._connection.abort()
            raise HTTPOutputError(f"Tried to write {self._left} bytes less than Content-Length")
        if self._upgrading:
            return
        if self._chunked:
            self._connection.send(self, b"0\r\n\r\n")
        self.finished = True
        self._connection.answered(self)

    def respond(self, head: bytes, body: bytes = b"") -> None:
        """Write a whole prepared answer in one step: no fields to join, no future.

        `head` goes from the status line to the empty line. It has Content-Length (except with 204 and 304)
        and no Connection field. For a HEAD request pass no body.
        """
        connection = self._connection
        self.started = True
        self.keep_alive = connection.may_keep_alive()
        if not self.keep_alive or self.head.is_http10:
            head = self._begun(head)
        if len(body) <= COPY_BYTES:
            connection.send(self, head + body if body else head)
        else:
            connection.send(self, head)
            connection.send(self, body)
        self.body_bytes_out = len(body)
        self.finished = True
        connection.answered(self)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the connection's loop, to be kept: the loop itself has only a weak reference.

        To let asyncio find the loop is a system call (getpid).
        """
        return self._connection.loop.create_task(work)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call it in the next turn of the connection's loop."""
        self._connection.loop.call_soon(call)

    def begin(self, head: bytes, body_bytes: int, first: memoryview | None = None) -> int:
        """Write the head of such an answer, and as much of `first` as `take` would; how many bytes of it.

        Its body of so many bytes begins with `first`. The rest follows at once, by `take` and `take_file`,
        which must be usable; then `finish`. Raises StreamClosedError, HTTPOutputError.
        """
        if self.closed():
            raise StreamClosedError
        self._left = body_bytes
        head = self._begun(head)
        transport = self._connection.transport
        if first is None:
            sent_bytes = transport.send_directly(head, more=True)
        else:
            self._check_direct(len(first))
            sent_bytes = transport.send_both(head, first)
        if sent_bytes < len(head):
            transport.write(head[sent_bytes:])
            return 0
        self._count(sent_bytes - len(head))
        return sent_bytes - len(head)

    @property
    def is_secure(self) -> bool:
        """Whether this process speaks TLS with the client."""
        return self._connection.transport.extra_info("ssl_object") is not None

    @property
    def remote_ip(self) -> str:
        """Of the client, or of the proxy before it."""
        return str(getattr(self.context, "remote_ip", "-"))

    @property
    def body_bytes_in(self) -> int:
        """How much of the request's body was taken so far."""
        return self.body.received_bytes if self.body is not None else 0

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The fields that followed the request's body, once that is whole: (normalized name, value)."""
        return self.body.trailers if self.body is not None else []

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Called once if the client goes away between the end of the request and the end of the answer."""
        self.close_callback = callback

    def set_max_body_size(self, max_body_size: int) -> None:
        """Bytes; for this request only. A declared length is checked when `headers_received` is done."""
        if self.body is not None:
            self.body.max_bytes = max_body_size

    def set_body_timeout(self, timeout: float) -> None:
        """Seconds, for this request only, from the end of its head to the end of its body; else 408."""
        if self.body is not None:
            self.body.timeout_s = timeout

    def detach(self) -> IOStream:
        """Leave HTTP: the connection belongs to the holder of the returned IOStream."""
        return detach(*self._connection.leave(self))

    async def all_sent(self) -> None:
        """Wait until earlier answers are sent. Raises StreamClosedError."""
        while self._connection.transport.unsent_bytes:
            await self.ready()

    def give_up(self) -> tuple[socket.socket, Handed]:
        """Leave HTTP without an answer, so that another process answers. Returns the client's socket, and all
        bytes from this request on. Nothing may have been answered, or taken of the body, or be unsent.

        Under TLS the socket is one end of a pair, with the client's data in plain. This process goes on to
        encrypt, and the server waits for the end of that when it drains.

        Raises StreamClosedError; OSError if no descriptor is left: then the request can still be answered.
        """
        assert not self.started
        if self.closed():
            raise StreamClosedError
        connection, remote_ip = self._connection, self.remote_ip if self.is_secure else ""
        if remote_ip:
            ours, sock = socket.socketpair()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RELAY_BYTES)
            transport, rest = connection.leave(self)
            relay(transport, ours)
            connection.server.relayed(transport)
        else:
            sock = connection.transport.extra_info("socket").dup()
            transport, rest = connection.leave(self)
            transport.raw.pause_reading()
            transport.raw.set_protocol(asyncio.Protocol())  # the connection hears no more, nor of its end
            transport.raw.abort()
        return sock, Handed(self._head_bytes + b"\r\n" + rest, remote_ip, connection.refused)

    @property
    def stream(self) -> StreamView:
        """The little of IOStream that handlers and HTTPServerRequest reach for."""
        return StreamView(self._connection)

    def closed(self) -> bool:
        """True when nothing that is written can reach the client any more."""
        return not self._connection.serves(self)

    def take_close_callback(self) -> Callable[[], None] | None:
        """The close callback, for its one call."""
        callback, self.close_callback = self.close_callback, None
        return callback

    def _begun(self, head: bytes) -> bytes:
        """The answer begins: `head` with what it says of the connection."""
        self.started = True
        self.keep_alive = self._connection.may_keep_alive()
        if not self.keep_alive:
            if not self.head.is_http10 or self.head.keep_alive:
                return head[:-2] + b"Connection: close\r\n\r\n"
        elif self.head.is_http10:
            return head[:-2] + b"Connection: Keep-Alive\r\n\r\n"
        return head

    def _check_direct(self, count: int) -> None:
        if self.closed():
            raise StreamClosedError
        assert not self._chunked
        self._check_left(count)

    def _check_left(self, count: int) -> None:
        if self._left is not None and count > self._left:
            self._connection.abort()  # before the framing of the next answer is lost
            raise HTTPOutputError("Tried to write more data than Content-Length")

    def _count(self, body_bytes: int) -> None:
        if self._left is not None:
            self._left -= body_bytes
        self.body_bytes_out += body_bytes

    def _framed(self, chunk: bytes) -> bytes:
        self._check_left(len(chunk))
        self._count(len(chunk))
        if self._chunked and chunk:  # an empty chunk would end the body
            return b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return chunk


def failed_write() -> asyncio.Future[None]:
    """The future of a write to a lost connection, as in Tornado; not logged if nobody uses it."""
    future: asyncio.Future[None] = asyncio.get_event_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()
    return future
