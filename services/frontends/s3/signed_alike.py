"""Checks signatures of requests that have the form of an earlier one.

A client signs all its requests in the same way: the same fields, with the same key, for the same day and
region. So some findings of sigv4 on one of them hold for all: every x-amz- field and the host are signed, and
the region is ours. The signature itself is computed for every request from its method, target, values and
time. Nothing is refused here: sigv4 judges every request that does not pass.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import NamedTuple

from services.access.decisions import Access
from services.frontends.s3 import sigv4
from services.frontends.s3.identity import Identity

_SIGNATURE_CHARS = 64
_DATE, _PAYLOAD = "X-Amz-Date", "X-Amz-Content-Sha256"
_MAX_WAYS = 64  # to sign one shape: as many as there are keys in use at a time

FieldLists = dict[str, list[str]]


class _Way(NamedTuple):
    """How a client signs. `lines`: for each signed field its key in a head, and the beginning of its line."""

    access_key: str
    scope: str
    day: str
    signed: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    names: str
    secret: str
    inner: sigv4.Sha256
    outer: sigv4.Sha256


class SignedAlike:
    """For one shape (see http1.Shape): the ways in which it was signed, by the text before the signature."""

    def __init__(self) -> None:
        self._ways: dict[str, _Way] = {}

    def remember(self, fields: FieldLists, identity: Identity) -> None:
        """Remember a request with these fields, each once, whose signature sigv4 found right."""
        claim = identity.claim
        said = fields.get("Authorization")
        if claim is None or identity.client is None or claim.is_presigned or said is None:
            return
        before = said[0][:-_SIGNATURE_CHARS]
        if not said[0].endswith("Signature=" + claim.signature) or _DATE not in fields:
            return
        keys = {name.lower(): name for name in fields}
        if any(name not in keys for name in claim.signed):
            return
        if len(self._ways) >= _MAX_WAYS:
            self._ways.clear()
        self._ways[before] = _Way(
            claim.access_key,
            claim.scope,
            claim.scope[:8],
            claim.signed,
            tuple((keys[name], f"{name}:") for name in claim.signed),
            ";".join(claim.signed),
            identity.secret,
            *sigv4.padded(sigv4.signing_key(identity.secret, claim.scope)),
        )

    def identify(
        self, method: str, path: str, query: str, fields: FieldLists, access: Access, now_s: float
    ) -> Identity | None:
        """The identity that signed the request; None if sigv4 must judge.

        `query`: one that is the same in a canonical request.
        """
        said = fields.get("Authorization")
        way = self._ways.get(said[0][:-_SIGNATURE_CHARS]) if said is not None else None
        if said is None or way is None or access.is_open:
            return None
        found = access.client_of_key(way.access_key)
        if found is None or found[1] != way.secret:
            return None
        date, payload = fields[_DATE][0], fields[_PAYLOAD][0]
        try:
            signed_s = sigv4.seconds_of(date)
        except ValueError:
            return None
        if abs(now_s - signed_s) > sigv4.MAX_SKEW_S or not date.startswith(way.day) or not payload:
            return None
        lines = "".join([f"{begin}{fields[name][0]}\n" for name, begin in way.lines])
        if "  " in lines:  # which is signed as one space
            return None
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{way.names}\n{payload}"
        hashed = sha256(canonical.encode("latin-1")).hexdigest()
        text = f"{sigv4.ALGORITHM}\n{date}\n{way.scope}\n{hashed}"
        signature = sigv4.signature(way.inner, way.outer, text)
        if not hmac.compare_digest(signature.encode(), said[0][-_SIGNATURE_CHARS:].encode("latin-1")):
            return None
        claim = sigv4.Claim(way.access_key, way.scope, date, way.signed, signature, payload, None)
        return Identity(found[0], way.secret, claim)
