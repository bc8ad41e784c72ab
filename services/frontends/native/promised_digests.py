"""The digests that a client declares for a body: computed as it comes, compared before it is stored."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from common.errors import BadRequest
from services.frontends.digests import Digests, Hash
from services.rules.text import list_members
from services.rules.uploads import DIGEST_BYTES, DIGEST_FIELDS, expected_digests
from services.store import Upload

_OF_STORE = "sha-256"  # the store computes it anyway


class PromisedDigests:
    """The digests that an upload declares for its body, in its head or (announced by Trailer) behind it.

    `gives_trailers`: whether the connection keeps those. Raises BadRequest for a digest that cannot be
    checked.
    """

    def __init__(self, fields: Mapping[str, str], *, gives_trailers: bool) -> None:
        self._promised = expected_digests(fields)
        announced = {name.lower() for name in list_members(fields.get("Trailer", ""))}
        self._behind = [name for name in DIGEST_FIELDS if name.lower() in announced]
        if self._behind and not gives_trailers:
            raise BadRequest("A digest in a trailer cannot be checked here: send it in the head.")
        algorithms = set(DIGEST_BYTES if self._behind else self._promised) - {_OF_STORE}
        self._hashes = {name: _new(name) for name in algorithms}
        self._digests = Digests(list(self._hashes.values()))

    def in_front_of(self, upload: Upload) -> Upload | _Hashing:
        """The object that takes the body: the upload, or one that also computes the digests."""
        return _Hashing(upload, self._digests) if self._hashes else upload

    async def check(self, upload: Upload, trailers: Iterable[tuple[str, str]]) -> None:
        """Check the complete body. Raises BadRequest if it does not match; aborts the upload then."""
        try:
            await self._check(upload, {name.lower(): value for name, value in trailers})
        except BaseException as err:
            await upload.abort(str(err))
            raise

    async def _check(self, upload: Upload, trailers: Mapping[str, str]) -> None:
        behind = {name: trailers[name.lower()] for name in DIGEST_FIELDS if name.lower() in trailers}
        if any(name not in behind for name in self._behind):
            raise BadRequest("The digest that Trailer announced did not come: nothing was stored.")
        promised = [*self._promised.items(), *expected_digests(behind).items()]
        await self._digests.finish()
        for algorithm, digest in promised:
            if algorithm == _OF_STORE:
                found = await upload.sha256()
            elif algorithm in self._hashes:
                found = self._hashes[algorithm].digest()
            else:
                raise BadRequest(
                    "Announce a digest that comes in a trailer with Trailer: nothing was stored."
                )
            if not hmac.compare_digest(found, digest):
                raise BadRequest("The body is not what its digest says, and was not stored: send it again.")


class _Hashing:
    """See frontends.handler.Incoming."""

    def __init__(self, upload: Upload, digests: Digests) -> None:
        self._upload = upload
        self._digests = digests

    async def write(self, data: bytes) -> None:
        await self._digests.add(data)
        await self._upload.write(data)

    async def abort(self, reason: str) -> None:
        await self._upload.abort(reason)


def _new(algorithm: str) -> Hash:
    name = {"sha": "sha1"}.get(algorithm, algorithm.replace("-", ""))
    return hashlib.new(name, usedforsecurity=False)
