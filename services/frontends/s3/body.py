"""The body of a request: removes its framing, computes its digests and compares them with the declared ones.

Hashing takes longer than everything else. So it is done in threads, for one piece while the next one comes
in.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Iterable, Sequence

from common.config import Config
from services.frontends.digests import Digests, Hash
from services.frontends.s3 import checksums, sigv4
from services.frontends.s3.aws_chunked import ChunkSigning, Decoder
from services.frontends.s3.checksums import Algorithm
from services.frontends.s3.errors import S3Error, not_implemented
from services.frontends.s3.etags import ETAG
from services.frontends.s3.request import Operation, Request
from services.frontends.s3.stored import CHECKSUM
from services.frontends.s3.xml import Element, parse
from services.rules.answers import Fields
from services.store import PartUpload, Upload

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_STREAMING = "STREAMING-"
_MODES = {
    # Whether the chunks are signed, and whether a trailer follows them.
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": (False, True),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": (True, False),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": (True, True),
}
_LENGTH = re.compile(r"[0-9]{1,18}")
# Up to this size the MD5 of a body is its ETag: some clients compare it with the file's (s3cmd sync, rclone
# --checksum, terraform). They send larger files in parts, whose tag is no MD5 in S3 either. MD5 takes longer
# than everything else that is done with the bytes, so larger bodies get a tag of another form (see etags).
MD5_UP_TO_BYTES = 16 << 20
_PARSE_INLINE_BYTES = 2 << 10  # in which 500 elements are
_MOST_TRAILERS = 8  # that are looked at: more than one is refused


class Body:
    """See the module docstring. Made when the head is known; raises S3Error if the fields are not valid.

    `declared_bytes`: the length of the content, None if it is not known. `with_md5`: compute it even if the
    client did not send one; None: as the ETag of a whole object needs it. `also`: a checksum to compute in
    any case.
    """

    def __init__(
        self,
        request: Request,
        *,
        with_md5: bool | None = None,
        also: Algorithm | None = None,
        length_needed: bool = True,
    ) -> None:
        fields = request.fields
        claimed = request.signed.payload if request.signed else fields.get("x-amz-content-sha256", "")
        self._sha256 = claimed if _SHA256_HEX.fullmatch(claimed) else None
        self._decoder: Decoder | None = None
        self.declared_bytes = self._declared(request, claimed, length_needed=length_needed)
        self._size = 0
        trailer = fields.get("x-amz-trailer")
        given = trailer.split(",", _MOST_TRAILERS) if trailer else []
        names = [name.strip().lower() for name in given if name.strip()]
        self._wanted = checksums.wanted(fields, names)
        also = checksums.named(fields, also)
        self._content_md5 = checksums.content_md5(fields.get("content-md5"))
        if with_md5 is None:
            is_small = self.declared_bytes is not None and self.declared_bytes <= MD5_UP_TO_BYTES
            with_md5 = is_small and whole_has_md5(request.config)
        self._md5: Hash | None = None
        if with_md5 or self._content_md5 is not None:
            self._md5 = hashlib.md5(usedforsecurity=False)
        one = self._wanted.algorithm if self._wanted else also
        if one is not None and also is not None and one is not also:
            raise S3Error("InvalidRequest", f"The checksum is to be a {also.name}, and is a {one.name}.")
        self._algorithm = one
        # The store computes SHA-256 anyway.
        self._checksum = one.make() if one is not None and one.name != "SHA256" else None
        self.digests = digests_of(self._md5, self._algorithm, self._checksum)
        self.md5_hex: str | None = None
        self.checksum: tuple[Algorithm, str] | None = None

    @property
    def has_other_sums(self) -> bool:
        """Whether an MD5 or a checksum other than SHA-256 is computed, so that the content has a tag."""
        return self._md5 is not None or self._checksum is not None

    @property
    def needs_sha256(self) -> bool:
        """Whether `finish` needs the SHA-256 of the content."""
        return self._sha256 is not None or (self._algorithm is not None and self._algorithm.name == "SHA256")

    def _declared(self, request: Request, claimed: str, *, length_needed: bool) -> int | None:
        fields = request.fields
        mode = _MODES.get(claimed)
        if mode is None:
            if claimed.startswith(_STREAMING):
                raise not_implemented(f"x-amz-content-sha256: {claimed[:80]}")
            if request.signed and self._sha256 is None and claimed != sigv4.UNSIGNED:
                raise S3Error(
                    "InvalidArgument",
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-..., or a valid sha256 value.",
                )
            length = fields.get("content-length")
            if fields.get("x-amz-decoded-content-length", length) != length:
                raise S3Error(
                    "InvalidRequest",
                    "The body is framed as aws-chunked: x-amz-content-sha256 must be STREAMING-...",
                )
            if length is None and length_needed and "transfer-encoding" not in fields:
                raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.")
            return int(length) if length is not None and _LENGTH.fullmatch(length) else None
        length = fields.get("x-amz-decoded-content-length")
        if length is None or not _LENGTH.fullmatch(length):
            raise S3Error("MissingContentLength", "You must provide x-amz-decoded-content-length: a number.")
        signing = None
        if mode[0] and request.signed is not None and request.secret:
            signed = request.signed
            key = sigv4.signing_key(request.secret, signed.scope)
            signing = ChunkSigning(key, signed.amz_date, signed.scope, signed.signature)
        self._decoder = Decoder(int(length), signing, has_trailer=mode[1], signed=mode[0])
        return int(length)

    @property
    def may_be_lent_room(self) -> bool:
        """Whether none of the bytes that come are kept here."""
        return self.digests.are_quick

    def came(self, data: memoryview) -> int:
        """The next bytes where `may_be_lent_room`: leaves only the content, at their beginning, and computes
        its digests. Returns how long that is. Raises S3Error."""
        size = len(data) if self._decoder is None else self._decoder.remove_framing(data)
        self._size += size
        self.digests.look_at(data[:size])
        return size

    def content_of(self, data: bytes) -> list[bytes]:
        """The content in the next bytes of the body, for `digests` too. Raises S3Error."""
        pieces = self._decoder.feed(data) if self._decoder is not None else [data]
        self._size += sum(map(len, pieces))
        return pieces

    async def feed(self, data: bytes) -> list[bytes]:
        """The same, and its digests are computed."""
        pieces = self.content_of(data)
        for piece in pieces:
            await self.digests.add(piece)
        return pieces

    async def finish(self, sha256: bytes | None) -> None:
        """Check the complete body against the declared digests. `sha256`: of the content, if needed.

        Raises S3Error. Afterwards `md5_hex` and `checksum` are set, if they were computed.
        """
        wanted = self._wanted
        if self._decoder is not None:
            self._decoder.finish()
            self._check_trailers(self._decoder.trailers)
        if self.declared_bytes is not None and self._size != self.declared_bytes:
            raise S3Error("IncompleteBody", "The body is not as long as it was declared: send it again.")
        await self.digests.finish()
        if self._sha256 is not None:
            assert sha256 is not None
            if not hmac.compare_digest(sha256.hex(), self._sha256):
                raise S3Error(
                    "XAmzContentSHA256Mismatch",
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                )
        if self._md5 is not None:
            raw = self._md5.digest()
            if self._content_md5 is not None and raw != self._content_md5:
                raise S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")
            self.md5_hex = raw.hex()
        if self._algorithm is None:
            return
        found = self._checksum.digest() if self._checksum is not None else sha256
        assert found is not None
        computed = checksums.encoded(found)
        if wanted is not None and self._promised(wanted) != computed:
            name = self._algorithm.name
            raise S3Error("BadDigest", f"The {name} you specified did not match the calculated checksum.")
        self.checksum = (self._algorithm, computed)

    def _check_trailers(self, names: Iterable[str]) -> None:
        """Raise S3Error for a trailer that was not announced, and so was not looked at."""
        promised = self._wanted.algorithm.header if self._wanted and self._wanted.value is None else None
        for name in names:
            if name != promised:
                raise S3Error(
                    "MalformedTrailerError", f"x-amz-trailer does not name the trailer {name[:60]}."
                )

    def kept(self) -> dict[str, str]:
        """The attributes to store with the complete content."""
        kept = {} if self.md5_hex is None else {ETAG: self.md5_hex}
        if self.checksum is not None:
            one, value = self.checksum
            kept[CHECKSUM + one.name.lower()] = value
        return kept

    def _promised(self, wanted: checksums.Wanted) -> str:
        if wanted.value is not None:
            return wanted.value
        value = (self._decoder.trailers if self._decoder else {}).get(wanted.algorithm.header)
        if value is None:
            raise S3Error("InvalidRequest", "The trailer that x-amz-trailer names did not come.")
        checksums.check_form(wanted.algorithm, value)
        return value


def whole_has_md5(config: Config) -> bool:
    """Whether to compute an MD5 that nobody sent of an object that comes in one piece and is small."""
    return config.s3_etag != "fast"


def part_has_md5(config: Config) -> bool:
    """The same of a part, however small: the tag of an upload in parts has a dash, so no client compares it.

    Those that can compare it (rclone) send Content-MD5 with each part, which then is its tag.
    """
    return config.s3_etag == "md5"


def digests_of(md5: Hash | None, algorithm: Algorithm | None, checksum: Hash | None) -> Digests:
    """What computes the two, of which each may be missing; `checksum` is one by `algorithm`."""
    slow = [] if md5 is None else [md5]
    if checksum is None or algorithm is None:
        return Digests(slow)
    # Beside an MD5, which a thread computes, a CRC costs the loop nothing; alone it is not worth a thread.
    return Digests(slow, [checksum]) if algorithm.is_quick and not slow else Digests([*slow, checksum])


class Receiving(Operation):
    """An operation whose body goes into an upload of the store; `begin` sets both."""

    body: Body
    upload: Upload | PartUpload | None = None

    def take(self, data: bytes) -> Awaitable[None] | None:
        """See Operation."""
        upload, body = self.upload, self.body
        assert upload is not None
        pieces = body.content_of(data)
        for at, piece in enumerate(pieces):
            if not (body.digests.has_room(piece) and upload.takes(piece)):
                return self._write(pieces[at:])
            body.digests.take(piece)
        return None

    async def _write(self, pieces: Sequence[bytes]) -> None:
        assert self.upload is not None
        for piece in pieces:
            await self.body.digests.add(piece)
            await self.upload.write(piece)

    async def received(self) -> dict[str, str]:
        """Check the complete body; the attributes to store with it. Raises S3Error."""
        body = self.body
        assert self.upload is not None
        await body.finish(await self.upload.sha256() if body.needs_sha256 else None)
        return body.kept()

    def checksum_shown(self) -> Fields:
        """The header field with the computed checksum, if there is one."""
        if self.body.checksum is None:
            return []
        one, value = self.body.checksum
        return [(one.header, value)]

    async def abort(self, reason: str) -> None:
        """See Operation."""
        if self.upload is not None:
            await self.upload.abort(reason)


class XmlOperation(Operation):
    """An operation whose body is a small document, of at most `MAX_BYTES`."""

    MAX_BYTES = 64 << 10

    async def begin(self) -> None:
        """See Operation."""
        self._body = Body(self.request, with_md5=False, length_needed=False)
        if (self._body.declared_bytes or 0) > self.MAX_BYTES:
            raise S3Error("EntityTooLarge", f"This request may have a body of {self.MAX_BYTES:,} bytes.")
        self._content = bytearray()

    async def write(self, data: bytes) -> None:
        """See Operation."""
        for piece in await self._body.feed(data):
            self._content += piece
        if len(self._content) > self.MAX_BYTES:
            raise S3Error("EntityTooLarge", f"This request may have a body of {self.MAX_BYTES:,} bytes.")

    async def document(self, root: str) -> Element | None:
        """The body, checked, as an element `root`; None if there is no body. Raises S3Error."""
        content = bytes(self._content)
        await self._body.finish(hashlib.sha256(content).digest() if self._body.needs_sha256 else None)
        if not content:
            return None
        if len(content) > _PARSE_INLINE_BYTES:
            return await asyncio.to_thread(parse, content, root)
        return parse(content, root)
