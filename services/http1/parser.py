"""Parses request heads: strict, pure, and quick for the heads that clients repeat.

Whatever two parsers could understand differently is refused (RFC 9112 section 11.2, request smuggling).
Nothing here knows sockets, time or the event loop.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NoReturn

import msgspec
from tornado.httputil import HTTPHeaders, RequestStartLine

from services.http1.errors import Refusal
from services.http1.limits import Limits
from services.http1.similar_fields import FieldBlock, SimilarFields

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 9112 section 3: single spaces. The target may hold bytes above 0x7f, as clients do send UTF-8 unescaped.
_request_line = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])").fullmatch
_field_name = re.compile(_TOKEN).fullmatch
_field_value = re.compile(
    rb"[\t\x20-\x7e\x80-\xff]*"
).fullmatch  # no control characters, so no bare CR, LF, NUL
# A block whose lines are all valid: to check each line alone takes twice as long.
_good_block = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*+").fullmatch
_digits = re.compile(
    r"[0-9]{1,18}"
).fullmatch  # 18 digits: fits 63 bits; int() alone would take "+1" and "1_0"
# RFC 3986 host and port, without "," (two Host fields joined by a proxy), "/" or "@".
_host = re.compile(r"[A-Za-z0-9\-._~!$&'()*+;=%\[\]:]*").fullmatch
_absolute = re.compile(r"https?://([^/?#@]+)((?:[/?][^#]*)?)", re.IGNORECASE).fullmatch
_authority = re.compile(r"[^/?#@]+:[0-9]+").fullmatch
_quoted = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)')
_empty_lines = re.compile(rb"(?:\r\n)+").match

_CACHED_BLOCK_BYTES = 2048
_CACHED_BLOCKS = 512  # so the cache holds at most a few MiB

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")}
_new_tuple = tuple.__new__  # of a named tuple: its own constructor is a function of Python

CHUNKED = -1
_CR = 13

_MOST_MEMBERS = 64  # of a list that frames a message; 64 KiB of commas would take 5 ms
_LEAST_LINE_BYTES = 4  # of a field: `a:` and its end


class RequestHeaders(HTTPHeaders):
    """Tornado's headers, made from checked parts; each request has its own, as handlers may change theirs.

    `fields` may be shared with other requests: it is copied before the first change.
    """

    def __init__(self, fields: dict[str, list[str]]) -> None:
        # Not the inherited constructor: it checks every name and value again, most of the time of a request.
        self._as_list = fields
        self._combined_cache = {}
        self._is_shared = True

    def copy(self) -> HTTPHeaders:
        return RequestHeaders({name: [*values] for name, values in self._as_list.items()})

    __copy__ = copy

    def get_list(self, name: str) -> list[str]:
        return [*super().get_list(name)]

    def add(self, name: str, value: str, *, _chars_are_bytes: bool = True) -> None:
        self._own()
        super().add(name, value, _chars_are_bytes=_chars_are_bytes)

    def __setitem__(self, name: str, value: str) -> None:
        self._own()
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        self._own()
        super().__delitem__(name)

    def _own(self) -> None:
        if self._is_shared:
            self._as_list = {name: [*values] for name, values in self._as_list.items()}
            self._is_shared = False


class RequestHead(msgspec.Struct, eq=False):
    """A parsed request head: what Tornado's delegates get, and how the message is framed."""

    start_line: RequestStartLine
    body_bytes: int  # declared length, 0 without a body, or CHUNKED
    keep_alive: bool  # the client expects the connection to stay open
    expects_continue: bool
    is_http10: bool
    block: FieldBlock
    host: str | None  # whom the request is for: of the target where that is a whole URL, else of the field
    memo: Any = None  # as FieldBlock's, for who looks at the target, too
    is_once: bool = False  # its bytes will not come again, so they need not be remembered
    made_headers: HTTPHeaders | None = None

    @property
    def headers(self) -> HTTPHeaders:
        """The fields as Tornado has them, made when somebody asks: most plain requests do without."""
        if self.made_headers is None:
            self.made_headers = RequestHeaders(self.block.fields)
        return self.made_headers


def skip_empty_lines(data: bytes) -> bytes:
    """`data` without the empty lines that old clients send after a body (RFC 9112 section 2.2)."""
    found = _empty_lines(data)
    return data[found.end() :] if found else data


def check_partial_head(data: bytes, checked_bytes: int, limits: Limits) -> None:
    """Refuse at once a head that cannot become valid: too long, or with a line end that is not CRLF.

    `checked_bytes`: the part that was checked before; to check it again for each byte would cost too much.
    """
    line_end = data.find(b"\r\n")
    if line_end < 0 and len(data) > limits.target_bytes + 64:  # 64: method, version and spaces
        _refuse_target(limits)
    if len(data) > limits.head_bytes:
        _refuse_head(limits)
    if _has_bare_line_end(data, checked_bytes):
        raise Refusal(
            400, "End every line of the head with CR LF and send no NUL.", "bare CR, LF or NUL in the head"
        )


def _has_bare_line_end(data: bytes, first: int) -> bool:
    """Whether there is a NUL from `first` on, or a CR or LF that is no part of a CRLF. A CR at the end may
    become one.

    By counts: a regular expression takes twelve times as long, most of the time of a long head.
    """
    if first and data[first - 1] == _CR:
        first -= 1
    pairs = data.count(b"\r\n", first)
    crs = data.count(b"\r", first) - data.endswith(b"\r")
    return crs != pairs or data.count(b"\n", first) != pairs or data.find(b"\0", first) >= 0


def parse_head(data: bytes, limits: Limits) -> RequestHead:
    """The head in `data`, which ends with the CRLF of its last line (the empty line is not included).

    Raises Refusal: 400 for what RFC 9112 calls malformed or ambiguous, 414, 431, 501 and 505.
    """
    line_end = data.find(b"\r\n")
    line = data[:line_end]
    match = _request_line(line)
    if match is None:
        if line_end > limits.target_bytes + 64:
            _refuse_target(limits)
        raise Refusal(
            400, "Send a request line as in RFC 9112 section 3.", f"Malformed HTTP request line {line[:80]!r}"
        )
    method, target, major, minor = match.groups()
    if major != b"1":
        raise Refusal(505, "Use HTTP/1.1.")
    if len(target) > limits.target_bytes:
        _refuse_target(limits)
    if len(data) > limits.head_bytes:
        _refuse_head(limits)
    block = data[line_end + 2 :]
    most = limits.head_fields
    if len(block) > most * _LEAST_LINE_BYTES and block.count(b"\r\n") > most:
        raise Refusal(431, f"Send at most {most} header fields.", "Too many header fields")
    fields = _cached_fields(block) if len(block) <= _CACHED_BLOCK_BYTES else _parse_fields(block)
    is_http10 = minor == b"0"
    if fields.host is None and not is_http10:
        raise Refusal(400, "Send a Host field.", "Missing Host header")  # RFC 9112 section 3.2
    if is_http10 and fields.body_bytes == CHUNKED:  # RFC 9112 section 6.1: its framing is faulty
        raise Refusal(400, "Use HTTP/1.1 to send a chunked body.", "Transfer-Encoding in an HTTP/1.0 request")
    path = target.decode("latin1")
    name = _METHODS[method] if method in _METHODS else method.decode("latin1")
    host = fields.host
    headers = None
    if path[0] != "/":
        headers = RequestHeaders(fields.fields)
        path = _other_target(name, path, headers)
        host = headers.get("Host")
    # A later 1.x is served as 1.1, the highest that we know (RFC 9110 section 2.5).
    line_of = (name, path, "HTTP/1.0" if is_http10 else "HTTP/1.1")
    return RequestHead(
        _new_tuple(RequestStartLine, line_of),
        fields.body_bytes,
        not fields.close and (not is_http10 or fields.keep_alive),  # RFC 9112 section 9.3
        fields.expects_continue and not is_http10,  # RFC 9110 section 10.1.1: ignored from HTTP/1.0
        is_http10,
        fields,
        host,
        made_headers=headers,
    )


def _other_target(method: str, target: str, headers: HTTPHeaders) -> str:
    """The path of a target that is not in origin-form (RFC 9112 section 3.2)."""
    if (target == "*" and method == "OPTIONS") or (method == "CONNECT" and _authority(target)):
        return target
    if (match := _absolute(target)) and _host(match[1]):
        headers["Host"] = match[1]  # section 3.2.2: the Host field is to be ignored
        rest = match[2]
        if not rest and method == "OPTIONS":
            return "*"  # section 3.2.4
        return rest if rest.startswith("/") else "/" + rest
    raise Refusal(400, "Send a target that begins with a slash.", f"Malformed request target {target[:80]!r}")


def _refuse_target(limits: Limits) -> NoReturn:
    raise Refusal(414, f"Send a target of at most {limits.target_bytes} bytes.")


def _refuse_head(limits: Limits) -> NoReturn:
    raise Refusal(431, f"Send header fields of at most {limits.head_bytes} bytes together.")


def parse_field_lines(block: bytes) -> dict[str, list[str]]:
    """Field lines, each ended by CRLF, as lists of values by normalized name. Raises Refusal (400)."""
    fields: dict[str, list[str]] = {}
    if _good_block(block):
        for text in block.decode("latin1").split("\r\n")[:-1]:
            key, _, said = text.partition(":")
            fields.setdefault(_normalized(key), []).append(said.strip(" \t"))
        return fields
    for line in block.split(b"\r\n")[:-1]:  # one of them is wrong: which?
        name, colon, value = line.partition(b":")
        if name[:1] in (b" ", b"\t"):  # RFC 9112 section 5.2
            raise Refusal(400, "Send each field on one line.", "folded header line")
        if not colon:
            raise Refusal(400, "Send fields as `name: value`.", "no colon in header line")
        if not _field_name(name):  # also whitespace before the colon (RFC 9112 section 5.1)
            raise Refusal(
                400, "Send field names of token characters only.", f"Invalid header name {name[:80]!r}"
            )
        value = value.strip(b" \t")
        if not _field_value(value):
            raise Refusal(
                400, "Send no control characters in a field.", f"Invalid header value of {name[:80]!r}"
            )
        fields.setdefault(_normalized(name.decode("latin1")), []).append(value.decode("latin1"))
    return fields


@functools.lru_cache(1000)
def _normalized(name: str) -> str:
    """`name` as Tornado's HTTPHeaders spell their keys."""
    return "-".join(word.capitalize() for word in name.split("-"))


def _parse_fields(block: bytes) -> FieldBlock:
    fields = parse_field_lines(block)
    hosts = fields.get("Host")
    if hosts and len(hosts) > 1:
        raise Refusal(400, "Send one Host field.", "Multiple host headers not allowed")
    if hosts and not _host(hosts[0]):
        raise Refusal(400, "Send a valid Host field.", f"Invalid Host header: {hosts[0][:80]!r}")
    connection = _members(fields, "Connection")
    return FieldBlock(
        fields,
        hosts[0] if hosts else None,
        _body_bytes(fields),
        "close" in connection,
        "keep-alive" in connection,
        "100-continue" in _members(fields, "Expect"),
    )


_cached_fields = functools.lru_cache(_CACHED_BLOCKS)(SimilarFields(_parse_fields, _normalized).block)


def _members(fields: dict[str, list[str]], name: str) -> list[str]:
    """The members of a comma-separated field in lower case: `Connection: foo, close` says close.

    Raises Refusal (400) for more than anybody needs.
    """
    values = fields.get(name)
    if values is None:
        return []
    if len(values) + sum(value.count(",") for value in values) > _MOST_MEMBERS:
        raise Refusal(400, f"Send at most {_MOST_MEMBERS} members in {name}.", f"Too many members in {name}")
    # A comma in a quoted string separates nothing: `Expect: a="b, 100-continue"` expects no 100.
    values = [_quoted.sub('""', value) if '"' in value else value for value in values]
    return [member.strip(" \t").lower() for value in values for member in value.split(",")]


def _body_bytes(fields: dict[str, list[str]]) -> int:
    """The length of the body by RFC 9112 section 6.3; ambiguous cases are refused."""
    if "Transfer-Encoding" in fields:
        if "Content-Length" in fields:
            raise Refusal(
                400,
                "Send either Content-Length or Transfer-Encoding.",
                "Message with both Transfer-Encoding and Content-Length",
            )
        codings = _members(fields, "Transfer-Encoding")
        if codings == ["chunked"]:
            return CHUNKED
        said = ",".join(fields["Transfer-Encoding"])[:80]
        known = set(codings) <= {"chunked", ""}  # twice, or an empty member: not unknown but wrong
        raise Refusal(
            400 if known else 501,
            "Use no transfer coding but chunked.",
            f"Unsupported Transfer-Encoding {said}",
        )
    if "Content-Length" not in fields:
        return 0
    lengths = set(_members(fields, "Content-Length"))
    if len(lengths) != 1:
        raise Refusal(
            400, "Send one Content-Length.", f"Multiple unequal Content-Lengths: {sorted(lengths)[:3]!r}"
        )
    length = lengths.pop()
    if not _digits(length):
        raise Refusal(
            400, "Send a decimal Content-Length.", f"Only integer Content-Length is allowed: {length[:80]}"
        )
    return int(length)
