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
        access_key, secret, token = self.credentials
        stamp, scope, key = _of_second(now_s, self.region, secret)
        payload = hashlib.sha256(body).hexdigest() if body else _NOTHING
        names = "host"
        fields = f"host:{self.host}\n"
        if condition:
            names += ";" + condition.partition(":")[0]
            fields += condition + "\n"
        names += ";x-amz-content-sha256;x-amz-date"
        fields += f"x-amz-content-sha256:{payload}\nx-amz-date:{stamp}\n"
        if token:
            names += ";x-amz-security-token"
            fields += f"x-amz-security-token:{token}\n"
        canonical = f"{method}\n{path}\n\n{fields}\n{names}\n{payload}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = hmac.digest(key, f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()
        length = f"content-length:{len(body)}\r\n" if method == "PUT" else ""
        return (
            f"{method} {path} HTTP/1.1\r\n{fields.replace(chr(10), chr(13) + chr(10))}{length}"
            f"user-agent:blobkeep\r\nauthorization:{_ALGORITHM} Credential={access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}\r\n\r\n"
        ).encode()


@lru_cache(8)
def _of_second(now_s: int, region: str, secret: str) -> tuple[str, str, bytes]:
    """(time stamp, scope, key of that day): the same for all requests of a second."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    key = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return stamp, f"{stamp[:8]}/{region}/s3/aws4_request", key
