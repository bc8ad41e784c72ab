"""AWS Signature Version 4: who signed a request, in its header or its query. Pure.

The signature is computed from the request as it was sent, and compared in constant time. What the signature
does not cover cannot be trusted. So a request is refused unless it signs the host and every `x-amz-` field
that it has. Signatures of chunks of a body chain to the request's signature (see aws_chunked).
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote_to_bytes

from services.frontends.s3.errors import S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_SKEW_S = 15 * 60
MAX_EXPIRES_S = 7 * 24 * 3600
_MAX_QUERY_KEYS = 200
# RFC 2104, section 2.
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))

_AUTHORIZATION = re.compile(
    ALGORITHM + r"\s+Credential=([^,\s]+)\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-f]{64})\s*"
)
_AMZ_DATE = re.compile(r"(\d{8})T(\d{6})Z", re.ASCII)
_SPACES = re.compile(r" +")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_SIGNED = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+(?:;[!#$%&'*+\-.^_`|~0-9a-z]+)*")
_BY_QUERY = ("X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature")


class Sha256(Protocol):
    """The methods of hashlib's objects."""

    def copy(self) -> Sha256: ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


class SignedRequest(NamedTuple):
    """The signed parts of a request: `path` and `query` exactly as in its target.

    `headers`: all values of each field, by lower-case name, in their order.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, list[str]]


class Claim(NamedTuple):
    """What a request says about its signature. It must not be trusted before `check`.

    `scope`: date/region/service/aws4_request. `payload`: what was signed as the body's hash. `expires_s`: of
    a presigned request, counted from `amz_date`; None for one that is signed in its header.
    """

    access_key: str
    scope: str
    amz_date: str
    signed: tuple[str, ...]
    signature: str
    payload: str
    expires_s: int | None

    @property
    def is_presigned(self) -> bool:
        """Whether the signature is in the query."""
        return self.expires_s is not None


def parse(request: SignedRequest) -> Claim | None:
    """What the request claims; None if it is not signed. Raises S3Error if the claim is malformed."""
    header = request.headers.get("authorization", [""])[0]
    if "X-Amz-Signature=" in request.query or "X-Amz-Algorithm=" in request.query:
        if header:
            raise S3Error("InvalidArgument", "Sign the request in its header or in its query, not in both.")
        return _from_query(request)
    if header:
        return _from_header(request, header)
    if "Signature=" in request.query and "AWSAccessKeyId=" in request.query:
        raise _version_2()
    return None


def _from_header(request: SignedRequest, header: str) -> Claim:
    if header.startswith("AWS "):
        raise _version_2()
    found = _AUTHORIZATION.fullmatch(header)
    if found is None:
        raise S3Error(
            "AuthorizationHeaderMalformed",
            f"The Authorization header is not {ALGORITHM} Credential=..., SignedHeaders=..., Signature=...",
        )
    credential, signed, signature = found.groups()
    amz_date = _one(request, "x-amz-date") or _iso_of_http_date(_one(request, "date"))
    if amz_date is None:
        raise S3Error("AccessDenied", "A signed request needs a valid Date or x-amz-date header.")
    payload = _one(request, "x-amz-content-sha256")
    if payload is None:
        raise S3Error("InvalidRequest", "The header x-amz-content-sha256 is missing.")
    access_key, scope = _credential(credential, "AuthorizationHeaderMalformed")
    return Claim(access_key, scope, amz_date, tuple(signed.split(";")), signature, payload, None)


def _from_query(request: SignedRequest) -> Claim:
    given: dict[str, str] = {}
    for name, value in split_query(request.query):
        if name.startswith("X-Amz-") and name in given:
            raise S3Error("AuthorizationQueryParametersError", f"{name} stands twice in the query.")
        given[name] = value
    if given.get("X-Amz-Algorithm") != ALGORITHM or any(name not in given for name in _BY_QUERY):
        raise S3Error(
            "AuthorizationQueryParametersError",
            f"A presigned request has X-Amz-Algorithm={ALGORITHM}, {', '.join(_BY_QUERY)} in its query.",
        )
    if "X-Amz-Security-Token" in given:
        raise S3Error("InvalidToken", "There are no temporary credentials here.")
    expires, signed = given["X-Amz-Expires"], given["X-Amz-SignedHeaders"]
    # 403 as for an expired link: this one was never valid.
    if not (expires.isascii() and expires.isdigit() and len(expires) < 9):
        raise S3Error("AccessDenied", "X-Amz-Expires must be a number of seconds.")
    if not 1 <= int(expires) <= MAX_EXPIRES_S:
        raise S3Error("AccessDenied", f"X-Amz-Expires must be from 1 to {MAX_EXPIRES_S} seconds (a week).")
    if not _SIGNED.fullmatch(signed) or not _SIGNATURE.fullmatch(given["X-Amz-Signature"]):
        raise S3Error(
            "AuthorizationQueryParametersError", "X-Amz-SignedHeaders or X-Amz-Signature has no valid form."
        )
    access_key, scope = _credential(given["X-Amz-Credential"], "AuthorizationQueryParametersError")
    payload = _one(request, "x-amz-content-sha256") or UNSIGNED
    signed_names = tuple(signed.split(";"))
    amz_date, signature = given["X-Amz-Date"], given["X-Amz-Signature"]
    return Claim(access_key, scope, amz_date, signed_names, signature, payload, int(expires))


def check(claim: Claim, request: SignedRequest, secret: str, region: str, now_s: float) -> None:
    """Check that `secret` signed this request for this server, not long ago. Raises S3Error."""
    _check_scope(claim, region)
    _check_time(claim, now_s)
    _check_signed(claim, request)
    head = f"{ALGORITHM}\n{claim.amz_date}\n{claim.scope}\n"
    key = signing_key(secret, claim.scope)
    for path in _paths(request.path):
        canonical = canonical_request(claim, request, path)
        if hmac.compare_digest(sign(key, head + _sha256_hex(canonical)), claim.signature):
            return
    raise S3Error(
        "SignatureDoesNotMatch",
        "The signature is not the one computed here: check the secret key, and that no proxy changes the "
        "host, the path or a signed header on the way.",
    )


def _paths(path: str) -> Iterator[str]:
    """The paths that may have been signed: as it was sent, or with characters encoded that some clients sign
    encoded but send bare."""
    yield path
    again = encoded_once(path)
    if again != path:
        yield again


def _check_scope(claim: Claim, region: str) -> None:
    date, claimed_region, service, _ = claim.scope.split("/")
    if not _AMZ_DATE.fullmatch(claim.amz_date):
        raise S3Error("AccessDenied", "The date of the signature is not of the form YYYYMMDDThhmmssZ.")
    code = "AuthorizationQueryParametersError" if claim.is_presigned else "AuthorizationHeaderMalformed"
    if service != "s3":
        raise S3Error(code, f"The credential is for the service {service!r}: sign for s3.")
    if claimed_region != region:
        text = f"The authorization is malformed; the region {claimed_region!r} is wrong; expecting {region!r}"
        raise S3Error(code, text, Region=region)
    if date != claim.amz_date[:8]:
        raise S3Error(code, "The date of the credential is not the date of the request.")


def _check_time(claim: Claim, now_s: float) -> None:
    try:
        signed_s = seconds_of(claim.amz_date)
    except ValueError:
        raise S3Error("AccessDenied", "The date of the signature is no date.") from None
    if claim.expires_s is None:
        if abs(now_s - signed_s) > MAX_SKEW_S:
            raise S3Error(
                "RequestTimeTooSkewed",
                "The request's time and the server's differ by more than 15 minutes: set your clock.",
                ServerTime=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s)),
            )
    elif signed_s - now_s > MAX_SKEW_S:
        raise S3Error("AccessDenied", "Request is not yet valid.")
    elif now_s > signed_s + claim.expires_s:
        raise S3Error("AccessDenied", "Request has expired: make a new link.")


@lru_cache(64)
def seconds_of(amz_date: str) -> int:
    """`amz_date` as Unix time. Raises ValueError. Cached, since busy clients sign many requests a second."""
    if not _AMZ_DATE.fullmatch(amz_date):
        raise ValueError(amz_date)
    return calendar.timegm(time.strptime(amz_date, "%Y%m%dT%H%M%SZ"))


def _check_signed(claim: Claim, request: SignedRequest) -> None:
    signed = set(claim.signed)
    if "host" not in signed:
        raise S3Error("AccessDenied", "The header host is not signed, and must be.")
    bare = [name for name in request.headers if name.startswith("x-amz-") and name not in signed]
    if bare:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed: " + ", ".join(bare),
            HeadersNotSigned=", ".join(bare),
        )


def canonical_request(claim: Claim, request: SignedRequest, path: str) -> str:
    """The text whose hash is signed: method, path, query, fields, their names, the payload's hash."""
    pairs = sorted(
        (_encoded(name), _encoded(value))
        for name, value in split_query(request.query)
        if name != "X-Amz-Signature" or not claim.is_presigned
    )
    lines = [
        request.method,
        path or "/",
        "&".join(f"{name}={value}" for name, value in pairs),
        *(f"{name}:{_canonical_value(request.headers.get(name, ()))}" for name in claim.signed),
        "",
        ";".join(claim.signed),
        claim.payload,
    ]
    return "\n".join(lines)


def split_query(query: str) -> list[tuple[str, str]]:
    """Names and values of a query, percent-decoded once, in order, duplicates too; `+` is a space.

    A byte is a character (latin-1); the caller decodes text. Raises S3Error for too many parameters.
    """
    if not query:
        return []
    pairs = query.split("&", _MAX_QUERY_KEYS)
    if len(pairs) > _MAX_QUERY_KEYS:
        raise S3Error("InvalidURI", "The query has too many parameters.")
    return [(_decoded(name), _decoded(value)) for name, _, value in (p.partition("=") for p in pairs if p)]


def encoded_once(path: str) -> str:
    """`path` with every byte but unreserved ones and slashes percent-encoded, however it was sent."""
    return quote(unquote_to_bytes(path.encode("latin-1")), safe="/-_.~")


@lru_cache(1024)
def signing_key(secret: str, scope: str) -> bytes:
    """The key of a day, region and service: 4 HMACs, so it is remembered."""
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    """HMAC-SHA256 of `text`, in hex."""
    return signature(*padded(key), text)


@lru_cache(1024)
def padded(key: bytes) -> tuple[Sha256, Sha256]:
    """The inner and the outer hash with which an HMAC by `key` (32 bytes) begins, to be copied.

    They take as long as hmac.digest, but do not release Python's lock.
    """
    block = key.ljust(64, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def signature(inner: Sha256, outer: Sha256, text: str) -> str:
    """The HMAC of `text` in hex; see `padded` for `inner` and `outer`."""
    first, second = inner.copy(), outer.copy()
    first.update(text.encode("utf-8", "surrogateescape"))
    second.update(first.digest())
    return second.hexdigest()


def _sha256_hex(text: str) -> str:
    # Heads have one character a byte, so the bytes that were sent are hashed.
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


def _credential(text: str, code: str) -> tuple[str, str]:
    access_key, *scope = text.rsplit("/", 4)
    if not access_key or len(scope) != 4 or scope[-1] != "aws4_request" or "\n" in text:
        raise S3Error(code, "The credential is not KEY/YYYYMMDD/REGION/s3/aws4_request.")
    return access_key, "/".join(scope)


def _one(request: SignedRequest, name: str) -> str | None:
    values = request.headers.get(name)
    return values[0] if values and values[0] else None


def _iso_of_http_date(text: str | None) -> str | None:
    """The time in the form of X-Amz-Date; also of a Date with "-0000" in place of GMT, as Python sends."""
    when = parsedate(text) if text else None
    return None if when is None else time.strftime("%Y%m%dT%H%M%SZ", when)


def _canonical_value(values: Iterable[str]) -> str:
    given = ",".join([value.strip(" \t") for value in values])
    return _SPACES.sub(" ", given) if "  " in given else given


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode("latin-1")


def _encoded(text: str) -> str:
    return quote(text.encode("latin-1"), safe="-_.~")


def _version_2() -> S3Error:
    return S3Error(
        "AccessDenied",
        "This is signature version 2, which is not served: sign with version 4. In boto3: "
        'Config(signature_version="s3v4"); aws-cli: aws configure set default.s3.signature_version s3v4.',
    )
