"""The part of WebDAV that caches use before they write: PROPFIND of one name, MKCOL (RFC 4918).

Folders are not made: a folder exists while something is under it. So MKCOL stores nothing, and answers 201.
"""

from __future__ import annotations

import html

from services.rules.conditions import etag
from services.rules.dates import format_http_date
from services.rules.locations import quote_location
from services.store import Blob

NO_TIME = format_http_date(0)  # the time of a folder: clients want one, and it has none


def multistatus(path: str, blob: Blob | None, modified_s: int = 0) -> bytes:
    """The body of a 207 about one resource; `blob` None: a folder. `path`: its path in a request."""
    if blob is None:
        what = (
            "<D:resourcetype><D:collection/></D:resourcetype>"
            f"<D:getlastmodified>{NO_TIME}</D:getlastmodified>"
        )
    else:
        what = (
            "<D:resourcetype/>"
            f"<D:getcontentlength>{blob.size}</D:getcontentlength>"
            f"<D:getcontenttype>{_escaped(blob.type)}</D:getcontenttype>"
            f"<D:getetag>{_escaped(etag(blob.sha256))}</D:getetag>"
            f"<D:getlastmodified>{format_http_date(modified_s)}</D:getlastmodified>"
        )
    text = (
        '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:"><D:response>'
        f"<D:href>{_escaped(path)}</D:href><D:propstat><D:prop>{what}</D:prop>"
        "<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>\n"
    )
    return text.encode()


def href_of(prefix: str, location: str) -> str:
    """The path of a location in a request. `prefix`: of all paths."""
    return prefix + quote_location(location)


def _escaped(text: str) -> str:
    """Escape as text of an element. Not by xml.sax, whose import takes 8 ms of a start."""
    return html.escape(text, quote=False)
