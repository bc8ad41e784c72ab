"""Whether a write may go on, judged against the blob as it is: the rules of POST, PUT and DELETE. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import AlreadyExists, NotFound, PreconditionFailed
from services.frontends.native.headers import modified_s
from services.rules.conditions import PRECONDITION_FAILED, etag, evaluate
from services.store import Blob, Condition


def write_condition(method: str, headers: Mapping[str, str], put_creates: bool) -> Condition:
    """What store.Store asks before and at the commit of a write of `method`, POST, PUT or DELETE.

    A blob that is not there is 404 whatever the conditions say, where the method cannot make one (RFC 9110,
    section 13.2.1). A condition that fails is 412, of a POST too: who sent `If-None-Match: *` asked for that
    answer; without it a POST of what is there is 409. A damaged blob has no tag that could match, and does
    not keep a new one out.
    """

    def judge(blob: Blob | None, damaged: bool) -> None:
        if blob is None and not damaged and (method == "DELETE" or (method == "PUT" and not put_creates)):
            advice = "create it with POST." if method == "PUT" else "nothing was deleted."
            raise NotFound(f"There is no such blob: {advice}")
        tag, modified = (etag(blob.sha256), modified_s(blob)) if blob is not None else (None, None)
        if evaluate(headers, tag, modified, method) is PRECONDITION_FAILED:
            raise PreconditionFailed(
                "The blob is not as your conditions say, and was left alone: read it, and decide anew."
            )
        if method == "POST" and blob is not None:
            raise AlreadyExists("This blob is there already: update it with PUT, or delete it first.")

    return judge
