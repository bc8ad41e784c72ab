"""AWS Signature Version 4 for the requests that `direct.py` sends. Pure.

All fields that matter are signed: the host, the condition or the range, and the hash of the body.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from functools import lru_cache
from typing import NamedTuple

from common.checksum import Bytes
from services.engines.objects.settings import StoreCredentials

_ALGORITHM = "AWS4-HMAC-SHA256"
_END = "\r\n"
_NOTHING = hashlib.sha256(b"").hexdigest()


class Signer(NamedTuple):
    """Signs for one host, as `Host` has it, in one region."""

    host: str
    region: str
    credentials: StoreCredentials

    def head(self, method: str, path: str, body: Bytes, condition: str, now_s: int) -> bytes:
        """The head of a request, signed. `path`: percent-encoded; `condition`: one more field, such as
        "range:bytes=0-9", between `host` and `x-amz` in the alphabet, in lower case; or empty.

        `now_s`: Unix time in seconds. Hashes `body`, 600 µs a MiB.
        """
        line, name = (condition + "\n", condition.partition(":")[0]) if condition else ("", "")
        same = _same_of_second(self, name, now_s)
        payload = hashlib.sha256(body).hexdigest() if body else _NOTHING
        canonical = (
            f"{method}\n{path}\n\nhost:{self.host}\n{line}x-amz-content-sha256:{payload}"
            f"{same.canonical}{payload}"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = hmac.digest(same.key, f"{same.to_sign}{digest}".encode(), "sha256").hex()
        length = f"content-length:{len(body)}\r\n" if method == "PUT" else ""
        return (
            f"{method} {path} HTTP/1.1\r\nhost:{self.host}\r\n{condition}{_END if line else ''}"
            f"x-amz-content-sha256:{payload}{same.head}{signature}\r\n{length}\r\n"
        ).encode()


class _Same(NamedTuple):
    """What is the same in all requests of a second with one kind of condition.

    `canonical`, `head`: what follows the hash of the body in the canonical request and in the head, up to the
    next part that differs. `to_sign`: what precedes the digest in the text that is signed with `key`.
    """

    canonical: str
    head: str
    to_sign: str
    key: bytes


@lru_cache(16)
def _same_of_second(signer: Signer, condition: str, now_s: int) -> _Same:
    """`condition`: the name of the field, or empty."""
    access_key, secret, token = signer.credentials
    stamp, scope, key = _of_second(now_s, signer.region, secret)
    names = ["host", condition, "x-amz-content-sha256", "x-amz-date", "x-amz-security-token" if token else ""]
    signed = ";".join(name for name in names if name)
    fields = [f"x-amz-date:{stamp}", *([f"x-amz-security-token:{token}"] if token else ())]
    named = f"Credential={access_key}/{scope}, SignedHeaders={signed}, Signature="
    authorization = f"authorization:{_ALGORITHM} {named}"
    return _Same(
        canonical="\n".join(("", *fields, "", signed, "")),
        head=_END.join(("", *fields, "user-agent:blobkeep", authorization)),
        to_sign=f"{_ALGORITHM}\n{stamp}\n{scope}\n",
        key=key,
    )


@lru_cache(8)
def _of_second(now_s: int, region: str, secret: str) -> tuple[str, str, bytes]:
    """(time stamp, scope, key of that day): the same for all requests of a second."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    key = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return stamp, f"{stamp[:8]}/{region}/s3/aws4_request", key
