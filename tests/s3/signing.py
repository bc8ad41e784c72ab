"""Signs requests for tests, as a client does. It shares no code with what is tested."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from services.frontends.s3.sigv4 import SignedRequest

REGION = "us-east-1"


def split(method: str, url: str, headers: dict[str, str]) -> SignedRequest:
    """A request as the verifier sees it."""
    parts = urlsplit(url)
    named = {name.lower(): [value] for name, value in headers.items()}
    named.setdefault("host", [parts.netloc])
    return SignedRequest(method, parts.path or "/", parts.query, named)


def signed_by_botocore(
    method: str,
    url: str,
    key: str,
    secret: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    expires_s: int | None = None,
    region: str = REGION,
) -> SignedRequest:
    """`method url`, signed in its header, or in its query where `expires_s` is given."""
    asked = AWSRequest(method, url, headers=dict(headers or {}), data=body)
    credentials = Credentials(key, secret)
    if expires_s is None:
        S3SigV4Auth(credentials, "s3", region).add_auth(asked)
    else:
        S3SigV4QueryAuth(credentials, "s3", region, expires=expires_s).add_auth(asked)
    return split(method, asked.url, dict(asked.headers.items()))


def chunk_signatures(
    secret: str, amz_date: str, scope: str, seed: str, chunks: list[bytes], trailer: str | None
) -> tuple[list[str], str]:
    """The signature of each chunk and of the trailer, by the description of AWS."""
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()

    def sign(text: str) -> str:
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    signatures, last = [], seed
    empty = hashlib.sha256().hexdigest()
    for chunk in chunks:
        hashed = hashlib.sha256(chunk).hexdigest()
        last = sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{amz_date}\n{scope}\n{last}\n{empty}\n{hashed}")
        signatures.append(last)
    if trailer is None:
        return signatures, ""
    hashed = hashlib.sha256(trailer.encode()).hexdigest()
    return signatures, sign(f"AWS4-HMAC-SHA256-TRAILER\n{amz_date}\n{scope}\n{last}\n{hashed}")
