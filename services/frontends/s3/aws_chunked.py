"""Decodes the framing `aws-chunked` of a body, as the bytes come, and checks the signatures. Pure.

    <hex size>[;chunk-signature=<64 hex>] CRLF <bytes> CRLF ... 0[;chunk-signature=...] CRLF [trailers] CRLF

It is inside the transfer coding of HTTP, and is not stored. A chunk's bytes are returned before its signature
is known, so the caller must not commit before `finish`.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from common.checksum import Bytes
from services.frontends.s3.errors import S3Error
from services.frontends.s3.sigv4 import sign

MAX_LINE_BYTES = 1024  # of the line before a chunk: a size, and a signature
MAX_TRAILER_BYTES = 16 << 10
_FRAMING_BYTES = MAX_LINE_BYTES + 2  # so much is looked at when framing comes
# S3 takes no chunk but the last of fewer bytes. Some clients send a few, but each is work for the event loop,
# so that very many would keep it from all others.
_SMALL_BYTES = 8 << 10
_SMALL_CHUNKS = 200
_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?(?:;.*)?")
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
TRAILER_SIGNATURE = "x-amz-trailer-signature"


class ChunkSigning:
    """The chain of signatures through a body: each covers the one before it, the first the request's.

    `key`: see sigv4.signing_key; `scope` and `amz_date` as in its Claim.
    """

    def __init__(self, key: bytes, amz_date: str, scope: str, seed: str) -> None:
        self._key = key
        self._context = f"{amz_date}\n{scope}\n"
        self._last = seed

    def check_chunk(self, sha256_hex: str, signature: str) -> None:
        """Check that the next chunk has this hash. Raises S3Error."""
        self._check("AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY_SHA256}\n{sha256_hex}", signature)

    def check_trailer(self, trailer: str, signature: str) -> None:
        """Check that `trailer` (lines `name:value\\n`) was signed. Raises S3Error."""
        self._check("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(trailer.encode()).hexdigest(), signature)

    def _check(self, kind: str, what: str, signature: str) -> None:
        right = sign(self._key, f"{kind}\n{self._context}{self._last}\n{what}")
        if not hmac.compare_digest(right, signature):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk of the body is wrong.")
        self._last = right


class Decoder:
    """Takes the body of one request. `signing`: None where signatures are not checked.

    `signed`: whether chunks carry one; they do where `signing` is given.

    `has_trailer`: fields follow the last chunk; with `signing`, they are signed as well. `declared_bytes`:
    how long the content must be.
    """

    def __init__(
        self,
        declared_bytes: int,
        signing: ChunkSigning | None,
        *,
        has_trailer: bool,
        signed: bool | None = None,
    ) -> None:
        self._left = declared_bytes
        self._signing = signing
        self._is_signed = signing is not None if signed is None else signed
        self._has_trailer = has_trailer
        self._held = b""  # the beginning of a line, or of the trailer
        self._chunk_left = 0  # of its content; while it is 0, framing comes
        self._small_chunks = 0
        self._state = self._read_head  # of the framing
        self._hash = hashlib.sha256()
        self._signature = ""
        self.trailers: dict[str, str] = {}  # by lower-case name, once finished

    def feed(self, data: bytes) -> list[bytes]:
        """The content in the next bytes of the body, in pieces. Raises S3Error."""
        content: list[bytes] = []
        at = 0
        while at < len(data):
            if self._chunk_left:
                piece = data[at : at + self._chunk_left]
                self._take(piece)
                content.append(piece)
                at += len(piece)
            else:
                at += self._read_framing(data[at : at + _FRAMING_BYTES])
        return content

    def remove_framing(self, data: memoryview) -> int:
        """As `feed`, in place: move the content in `data` to its beginning. Returns how long it is."""
        at = size = 0
        while at < len(data):
            if self._chunk_left:
                piece = data[at : at + self._chunk_left]
                self._take(piece)
                if size != at:
                    data[size : size + len(piece)] = piece  # they may overlap
                size += len(piece)
                at += len(piece)
            else:
                at += self._read_framing(bytes(data[at : at + _FRAMING_BYTES]))
        return size

    def _read_framing(self, data: bytes) -> int:
        """Of some bytes from where framing begins; returns how many are framing."""
        return len(data) - len(self._state(data))

    def finish(self) -> None:
        """Check at the end of the body that it and its trailer are complete. Raises S3Error."""
        if self._state != self._read_trailer:
            raise S3Error("IncompleteBody", "The body ends before its last chunk.")
        if self._left:
            raise S3Error(
                "IncompleteBody", "The body is shorter than x-amz-decoded-content-length says: send it again."
            )
        self._parse_trailer()

    # --- states: each takes what it can of the bytes, and returns the rest ---

    def _read_head(self, data: bytes) -> bytes:
        self._held += data
        end = self._held.find(b"\r\n")
        if end < 0 and len(self._held) <= MAX_LINE_BYTES:
            return b""
        found = _HEAD.fullmatch(self._held, 0, max(end, 0))
        if found is None:
            raise S3Error(
                "InvalidRequest", "A chunk of the body does not begin with its size, as aws-chunked has it."
            )
        rest = self._held[end + 2 :]
        self._held = b""
        size, signature = int(found[1], 16), found[2]
        if (signature is not None) != self._is_signed:
            raise S3Error(
                "SignatureDoesNotMatch", "The chunks of the body are not signed as the request says."
            )
        if size > self._left:
            raise S3Error("IncompleteBody", "The body is longer than x-amz-decoded-content-length says.")
        if 0 < size < _SMALL_BYTES:
            self._small_chunks += 1
            if self._small_chunks > _SMALL_CHUNKS:
                raise S3Error(
                    "InvalidChunkSizeError", "Only the last chunk of the body may have less than 8192 bytes."
                )
        self._left -= size
        self._chunk_left = size
        self._signature = "" if signature is None else signature.decode()
        self._hash = hashlib.sha256()
        self._state = self._read_end
        if not size:
            self._end_chunk()
            self._state = self._read_trailer
        return rest

    def _take(self, piece: Bytes) -> None:
        """Of the content of a chunk."""
        if self._signing is not None:
            self._hash.update(piece)
        self._chunk_left -= len(piece)
        if not self._chunk_left:
            self._end_chunk()

    def _read_end(self, data: bytes) -> bytes:
        wanted = 2 - len(self._held)
        self._held += data[:wanted]
        if not b"\r\n".startswith(self._held):
            raise S3Error("IncompleteBody", "A chunk of the body is longer than its size says.")
        if len(self._held) == 2:
            self._held = b""
            self._state = self._read_head
        return data[wanted:]

    def _read_trailer(self, data: bytes) -> bytes:
        self._held += data
        if len(self._held) > (MAX_TRAILER_BYTES if self._has_trailer else 2):
            raise S3Error("InvalidRequest", "More follows the last chunk of the body than may.")
        return b""

    def _end_chunk(self) -> None:
        if self._signing is not None:
            self._signing.check_chunk(self._hash.hexdigest(), self._signature)

    def _parse_trailer(self) -> None:
        # Clients differ in how they end the lines: CR LF, or LF; and in how many empty ones follow.
        try:
            lines = [line for line in self._held.decode("ascii").replace("\r", "").split("\n") if line]
        except UnicodeDecodeError:
            raise S3Error("InvalidRequest", "The trailer of the body is not plain ASCII.") from None
        signed = ""
        for line in lines:
            name, colon, value = line.partition(":")
            name, value = name.strip(" \t").lower(), value.strip(" \t")
            if not colon or not name or name in self.trailers:
                raise S3Error(
                    "InvalidRequest", "The trailer of the body has a line that is no field of its own."
                )
            self.trailers[name] = value
            if name != TRAILER_SIGNATURE:
                signed += f"{name}:{value}\n"
        signature = self.trailers.pop(TRAILER_SIGNATURE, None)
        if self._signing is not None and self._has_trailer:
            if signature is None:
                raise S3Error(
                    "SignatureDoesNotMatch", "The trailer of the body is not signed, as the request says."
                )
            self._signing.check_trailer(signed, signature)
