"""The fields of an upload's head about its body: digests, media type, coding, Expect. Pure."""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Mapping

from common.errors import BadRequest
from services.rules.text import MAX_MEMBERS, list_members

DEFAULT_MEDIA_TYPE = "application/octet-stream"
# curl's default for --data: it says nothing about the bytes.
FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"
# Of a stored Content-Type or Content-Encoding. RFC 6838 allows 127 for each half of a type.
MAX_FIELD_CHARS = 255
# What a body may be announced with, and how long it is.
DIGEST_BYTES = {"md5": 16, "sha": 20, "sha-256": 32, "sha-512": 64}
DIGEST_FIELDS = ("Repr-Digest", "Content-Digest", "Digest", "Content-MD5")

_LENGTH = re.compile(r"[0-9]{1,18}")  # fits 63 bits

_FIELD_TEXT = re.compile(r"[\t\x20-\x7e]*+")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*+"'
# RFC 9110, section 8.3.1
_MEDIA_TYPE = re.compile(rf"({_TOKEN}/{_TOKEN})(?:[ \t]*+;[ \t]*+(?:{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?+)*+")
_CODINGS = re.compile(rf"{_TOKEN}(?:[ \t]*+,[ \t]*+{_TOKEN})*+")  # section 8.4

# Structured fields (RFC 9651): a dictionary, of which only sha-256=:...: and the like are used.
_KEY = r"[a-z*][a-z0-9_\-.*]*+"
_BYTES = r":[A-Za-z0-9+/=]*+:"
_BARE = (
    r"(?:-?[0-9]{1,15}(?:\.[0-9]{1,3})?+"  # integer, decimal
    r'|"(?:[ \x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"'  # string
    r"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+"  # token
    rf"|{_BYTES}"
    r"|\?[01]"  # boolean
    r"|@-?[0-9]{1,15}"  # date
    r'|%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*+")'  # display string
)
_PARAMS = rf"(?:;[ ]*+{_KEY}(?:={_BARE})?+)*+"
_INNER = rf"\([ ]*+(?:{_BARE}{_PARAMS}(?:[ ]++|(?=\))))*+\)"
_MEMBER = rf"(?P<key>{_KEY})(?:=(?P<value>{_INNER}|{_BARE}))?+{_PARAMS}[ \t]*+(?P<more>,|\Z)[ \t]*+"


@functools.cache
def _member() -> re.Pattern[str]:
    """Compiled when the first digest comes: it takes 3 ms, for which no start should wait."""
    return re.compile(_MEMBER)


def parse_digests(name: str, header: str) -> dict[str, bytes]:
    """The digests in a Repr-Digest or Content-Digest field, by algorithm: those of DIGEST_BYTES alone.

    RFC 9530, sections 2 and 3; the grammar is RFC 9651's dictionary, of which the last of equal keys counts.
    `name`: of the field, for the text of the error. Raises BadRequest where it is malformed.
    """
    found: dict[str, bytes] = {}
    text = header.strip(" ")
    at, more, members = 0, "", 0
    while at < len(text) or more == ",":
        member = _member().match(text, at)
        members += 1
        if member is None or members > MAX_MEMBERS:
            raise _bad_digest(name)
        if member["key"] in DIGEST_BYTES:
            found[member["key"]] = _digest(name, member["key"], member["value"] or "")
        at, more = member.end(), member["more"]
    return found


def expected_digests(headers: Mapping[str, str]) -> dict[str, bytes]:
    """The digests that the body must have, by algorithm, whichever fields say so (DIGEST_FIELDS).

    An upload's content is the whole representation, so all of them speak of the same bytes.
    Raises BadRequest where one is malformed, or two differ: no body could match both.
    """
    found: dict[str, bytes] = {}
    for name in DIGEST_FIELDS:
        header = headers.get(name)
        if header is None:
            continue
        if name == "Content-MD5":
            said = {"md5": _decoded(name, "md5", header.strip(" \t"))}
        elif name == "Digest":
            said = _old_digests(header)
        else:
            said = parse_digests(name, header)
        for algorithm, digest in said.items():
            if found.setdefault(algorithm, digest) != digest:
                raise BadRequest("Two fields say different digests of the body: send it in one of them.")
    return found


def _old_digests(header: str) -> dict[str, bytes]:
    """Of a Digest field (RFC 3230): `SHA-256=base64, MD5=base64`; algorithms in any letter case."""
    found = {}
    for member in list_members(header):
        key, _, value = member.partition("=")
        algorithm = key.strip(" \t").lower()
        if algorithm in DIGEST_BYTES:
            found[algorithm] = _decoded("Digest", algorithm, value.strip(" \t"))
    return found


def format_digest(sha256: bytes) -> str:
    """The value of Repr-Digest: `sha-256=:base64:` (RFC 9530, section 3)."""
    return f"sha-256=:{binascii.b2a_base64(sha256, newline=False).decode()}:"


def stored_media_type(header: str | None) -> str:
    """The Content-Type to store, as it was sent; application/octet-stream where it says nothing.

    That is where it is absent, curl's form default, over MAX_FIELD_CHARS, or not as RFC 9110, section 8.3.1
    has it. What is returned is visible ASCII, spaces and tabs: fit for a header and a state file.
    """
    text = (header or "").strip(" \t")
    match = _MEDIA_TYPE.fullmatch(text) if len(text) <= MAX_FIELD_CHARS else None
    if match is None or match[1].lower() == FORM_MEDIA_TYPE:
        return DEFAULT_MEDIA_TYPE
    return text


def stored_encoding(header: str | None) -> str:
    """The Content-Encoding to store, as it was sent, "" where there is none (RFC 9110, section 8.4).

    Raises BadRequest where it is malformed or over MAX_FIELD_CHARS: readers could not decode the blob.
    """
    text = (header or "").strip(" \t")
    if text and (len(text) > MAX_FIELD_CHARS or not _CODINGS.fullmatch(text)):
        raise BadRequest("Content-Encoding is malformed: name the codings, as in gzip, or leave it out.")
    return text


def fits_field(value: str) -> bool:
    """Whether `value` can be in a header field: visible ASCII, spaces and tabs (RFC 9110, section 5.5).

    Values stored over HTTP can. A record that was made by hand may have line breaks, which would begin
    another field or a body; such a value is left out.
    """
    return bool(_FIELD_TEXT.fullmatch(value))


def declared_bytes(headers: Mapping[str, str]) -> int | None:
    """The length of the body in bytes by Content-Length; None if it is missing, or no number.

    The same length twice is one length (RFC 9110, section 8.6); the connection refuses other cases.
    """
    lengths = {length.strip(" \t") for length in headers.get("Content-Length", "").split(",")}
    length = lengths.pop()
    return int(length) if not lengths and _LENGTH.fullmatch(length) else None


def refuse_partial(headers: Mapping[str, str]) -> None:
    """Raise BadRequest for an upload of a part: stored as the whole, it would destroy the rest.

    RFC 9110, section 14.5. `curl -T file -C 100` sends such a PUT.
    """
    if headers.get("Content-Range") is not None:
        raise BadRequest("Blobs are written whole: send all bytes, without Content-Range.")


def parse_expect(header: str | None) -> bool:
    """Whether the client waits for 100 Continue, in any letter case (RFC 9110, section 10.1.1).

    Other expectations are ignored, as that section allows. HTTP/1.0 clients never wait, whatever they send.
    """
    return header is not None and any(member.lower() == "100-continue" for member in list_members(header))


def _digest(name: str, algorithm: str, value: str) -> bytes:
    if not re.fullmatch(_BYTES, value):
        raise _bad_digest(name)
    return _decoded(name, algorithm, value[1:-1])


def _decoded(name: str, algorithm: str, text: str) -> bytes:
    try:  # RFC 9651, section 4.2.7: padding may be missing
        digest = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as err:
        raise _bad_digest(name) from err
    if len(digest) != DIGEST_BYTES[algorithm]:
        raise _bad_digest(name)
    return digest


def _bad_digest(name: str) -> BadRequest:
    example = {
        "Content-MD5": "the 16 bytes in base64",
        "Digest": "SHA-256= and the 32 bytes in base64",
    }.get(name, "sha-256=:, the 32 bytes in base64, and a colon")
    return BadRequest(f"{name} is malformed: send {example}.")
