"""Parameters of the listings, and whether a page of one is wanted as HTML or as JSON. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from common.errors import BadRequest
from common.states import WORD_OF_CODE
from services.rules.locations import MAX_LOCATION_BYTES
from services.rules.text import CONTROL, BadEscape, decode_percent, list_members

DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
# By id each entry costs the read of a file, and the page is in memory until the client has taken it.
DEFAULT_ID_LIMIT = 100
MAX_ID_LIMIT = 250
STATES = frozenset(WORD_OF_CODE.values())

_ID = re.compile(r"[0-9]{1,10}")  # 32 bits
_LIMIT = re.compile(r"[0-9]{1,5}")
_MAX_PARAMETERS = 16  # of a media range
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")  # RFC 9110, section 12.4.2


class Listing(NamedTuple):
    """What a page of /store/ holds; the arguments of store.Store.list, in its order."""

    prefix: str
    delimiter: str
    after: str
    limit: int


class IdListing(NamedTuple):
    """What a page of /blobs/ holds; the arguments of engine.Admin.list_by_id, in its order."""

    state: str | None
    after: str | None
    limit: int


def parse_listing(query: str | bytes, folder: str = "", *, browsed: bool = False) -> Listing:
    """The parameters of `GET /store/` (`folder` "") or of `GET /store/{folder}`, where `folder` ends in "/".

    A folder is its own prefix, with the delimiter "/" unless the query says `delimiter=` (all below it).
    `browsed`: by a client that follows links. For it /store/ is a folder, too, and a page is as long as
    possible, since rclone reads no second one. `query`: what follows the "?", form-encoded (so "+" is a
    space), a str with one character a byte. Raises BadRequest for an unknown, repeated or bad parameter: a
    misspelt `prefix` must not list everything.
    """
    fields = _parse_query(query, ("prefix", "delimiter", "after", "limit"))
    prefix = fields.get("prefix")
    if folder and prefix is not None:
        raise BadRequest("Say the prefix in the path or as ?prefix=, not both.")
    delimiter = fields.get("delimiter", "/" if folder or browsed else "")
    if delimiter not in ("", "/"):
        raise BadRequest("The delimiter can only be /: send delimiter=/ or leave it out.")
    limit = _limit(fields, MAX_LIMIT if browsed else DEFAULT_LIMIT, MAX_LIMIT)
    return Listing(folder or prefix or "", delimiter, fields.get("after", ""), limit)


def parse_id_listing(query: str | bytes) -> IdListing:
    """The parameters of `GET /blobs/`; `after` is None if it is missing.

    Raises BadRequest as parse_listing does.
    """
    fields = _parse_query(query, ("state", "after", "limit"))
    state = fields.get("state")
    if state is not None and state not in STATES:
        raise BadRequest(f"There is no such state: send state= with one of {', '.join(sorted(STATES))}.")
    limit = _limit(fields, DEFAULT_ID_LIMIT, MAX_ID_LIMIT)
    return IdListing(state, fields.get("after"), limit)


def follows_links(user_agent: str | None) -> bool:
    """Whether a client follows the links of folders: Wget, lftp, or rclone's http backend.

    Like curl and scripts, which want JSON, they do not ask for HTML in Accept.
    """
    return (user_agent or "").lower().startswith(("wget/", "lftp/", "rclone/"))


def wants_html(accept: str | None, otherwise: bool = False) -> bool:
    """Whether a client prefers text/html to application/json (RFC 9110, section 12.5.1).

    `otherwise`: the result for a client without a preference, such as one without Accept, or with `*/*`.
    Malformed parts of the header are ignored.
    """
    html = json = (-1, 0.0)  # how specific the element was, and its quality
    for element in list_members(accept or ""):
        media_range, *parameters = element.split(";", _MAX_PARAMETERS)
        quality = _quality(parameters)
        if quality is None:
            continue
        match media_range.strip(" \t").lower():
            case "text/html":
                html = max(html, (2, quality))
            case "application/json":
                json = max(json, (2, quality))
            case "text/*":
                html = max(html, (1, quality))
            case "application/*":
                json = max(json, (1, quality))
            case "*/*":
                html = max(html, (0, quality))
                json = max(json, (0, quality))
    return otherwise if html[1] == json[1] else html[1] > json[1]


def _parse_query(query: str | bytes, known: tuple[str, ...]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for field in (query.encode("latin-1", "replace") if isinstance(query, str) else query).split(b"&"):
        if not field:
            continue
        raw_name, _, raw_value = field.partition(b"=")
        name, value = _decode(raw_name), _decode(raw_value)
        if name not in known:
            raise BadRequest(f"There is no such parameter: this listing knows {', '.join(known)}.")
        if name in fields:
            raise BadRequest(f"{name}= is there twice: say it once.")
        fields[name] = value
    return fields


def _decode(raw: bytes) -> str:
    try:
        text = decode_percent(raw.replace(b"+", b" "))
    except BadEscape as err:
        raise BadRequest("The query has a % without two hex digits: write a percent sign as %25.") from err
    except UnicodeError as err:
        raise BadRequest("The query is not UTF-8: percent-encode the UTF-8 bytes of its values.") from err
    if CONTROL.search(text):
        raise BadRequest("The query has a control character: no location has one, so leave it out.")
    if len(text.encode()) > MAX_LOCATION_BYTES:
        raise BadRequest(f"A parameter is over {MAX_LOCATION_BYTES:,} bytes: no location is, so shorten it.")
    return text


def _limit(fields: dict[str, str], otherwise: int, most: int) -> int:
    text = fields.get("limit", str(otherwise))
    limit = int(text) if _LIMIT.fullmatch(text) else 0
    if not 1 <= limit <= most:
        raise BadRequest(f"limit= must be a number from 1 to {most:,}, in digits.")
    return limit


def _quality(parameters: list[str]) -> float | None:
    """The weight of an element of Accept, 1 where it says none; None where it is malformed."""
    for parameter in parameters:
        name, equals, value = parameter.strip(" \t").partition("=")
        if equals and name.lower() == "q":
            return float(value) if _QUALITY.fullmatch(value) else None
    return 1.0
