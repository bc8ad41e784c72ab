"""`Blob-Copy-From` and `Blob-Move-From`: a write whose bytes are those of another blob. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from common.errors import BadRequest, PreconditionFailed
from services.frontends.native.headers import PREFIX, modified_s
from services.rules.conditions import PRECONDITION_FAILED, etag, evaluate
from services.rules.locations import parse_location
from services.rules.media_types import upload_media_type
from services.rules.metadata import EXPIRES, stored_expires, stored_metadata
from services.rules.uploads import DIGEST_FIELDS, FORM_MEDIA_TYPE, declared_bytes, stored_encoding
from services.store import Blob, Content

COPY, MOVE = "Blob-Copy-From", "Blob-Move-From"
CONDITION = "Blob-If-Match"  # on the source; the usual ones are on the target
_OF_UPLOADS = ("Blob-Expires",)
_OF_COPIES = (COPY, MOVE, CONDITION, *_OF_UPLOADS)


class CopyOrder(NamedTuple):
    """A request for a copy. `content`: the new attributes; None: those of the source, except the time
    `expires` (an HTTP date), if it is given. `tag`: which the source must have, if any."""

    source: str
    move: bool
    content: Content | None
    tag: str | None
    expires: str | None = None

    def source_condition(self, blob: Blob | None, damaged: bool) -> None:
        """See store.Condition."""
        if self.tag is None or blob is None:
            return
        found = evaluate({"If-Match": self.tag}, etag(blob.sha256), modified_s(blob), "PUT")
        if found is PRECONDITION_FAILED:
            raise PreconditionFailed("The source is not as Blob-If-Match says: read it, and decide anew.")


def copy_order(headers: Mapping[str, str], target: str, *, guesses: bool) -> CopyOrder | None:
    """The copy that the fields of a POST or PUT ask for; None if its body is to be stored.

    Type, encoding and metadata are the source's, unless the request has any: then all are the request's.
    Raises BadRequest.
    """
    copied, moved = headers.get(COPY), headers.get(MOVE)
    said = copied if moved is None else moved
    if said is None:
        return None
    if copied is not None and moved is not None:
        raise BadRequest(f"{COPY} and {MOVE} say two things: send one of them.")
    if declared_bytes(headers) or "Transfer-Encoding" in headers:
        raise BadRequest(f"The bytes are those of {said[:200]}: send no body.")
    for name in (*DIGEST_FIELDS, "Content-Range"):
        if name in headers:
            raise BadRequest(f"A copy has no {name}: {CONDITION} says which bytes the source must have.")
    if not said.startswith(PREFIX):
        raise BadRequest(f"Name the source as in a request: {PREFIX} and its location, percent-encoded.")
    source = parse_location(said.removeprefix(PREFIX))
    content = _content(headers, target, guesses=guesses)
    return CopyOrder(source, moved is not None, content, headers.get(CONDITION), stored_expires(headers))


def refuse_without_effect(method: str | None, headers: Mapping[str, str]) -> None:
    """Raise BadRequest for a field of ours that this write does not look at.

    A client that sends Blob-If-Match with a DELETE, say, believes that it deletes only what it knows.
    """
    known = _OF_COPIES if COPY in headers or MOVE in headers else _OF_UPLOADS
    for name in headers:
        if name.startswith("Blob-") and (method == "DELETE" or name not in known):
            instead = " Conditions of this location are If-Match and the like." if name == CONDITION else ""
            raise BadRequest(f"{name[:60]} has no effect on this request: leave it out.{instead}")


def _content(headers: Mapping[str, str], target: str, *, guesses: bool) -> Content | None:
    said = headers.get("Content-Type")
    if said is not None and said.partition(";")[0].strip().lower() == FORM_MEDIA_TYPE:
        said = None  # curl's, of an empty --data
    encoding, metadata = stored_encoding(headers.get("Content-Encoding")), stored_metadata(headers)
    if said is None and not encoding and not metadata.keys() - {EXPIRES}:
        return None
    return Content(upload_media_type(said, target, guesses=guesses), encoding, metadata)
