"""Whether a write may go on, judged by the current blob: the rules of POST, PUT and DELETE. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import AlreadyExists, NotFound, PreconditionFailed
from services.frontends.native.headers import modified_s
from services.rules.conditions import PRECONDITION_FAILED, etag, evaluate
from services.store import Blob, Condition


def write_condition(method: str, headers: Mapping[str, str], put_creates: bool) -> Condition:
    """The condition that store.Store judges before and at the commit of a POST, PUT or DELETE.

    A missing blob is 404 whatever the conditions say, if the method cannot make one (RFC 9110, section
    13.2.1). A failed condition is 412, also for a POST with `If-None-Match: *`; without that field a POST of
    an existing blob is 409. A damaged blob has no tag that could match, and does not prevent a new one.
    """

    def judge(blob: Blob | None, damaged: bool) -> None:
        if blob is None and not damaged and (method == "DELETE" or (method == "PUT" and not put_creates)):
            advice = "create it with POST." if method == "PUT" else "nothing was deleted."
            raise NotFound(f"There is no such blob: {advice}")
        if headers and _fails(headers, blob, method):
            raise PreconditionFailed(
                "The blob is not as your conditions say, and was left alone: read it, and decide anew."
            )
        if method == "POST" and blob is not None:
            raise AlreadyExists("This blob is there already: update it with PUT, or delete it first.")

    return judge


def _fails(headers: Mapping[str, str], blob: Blob | None, method: str) -> bool:
    tag, modified = (etag(blob.sha256), modified_s(blob)) if blob is not None else (None, None)
    return evaluate(headers, tag, modified, method) is PRECONDITION_FAILED
