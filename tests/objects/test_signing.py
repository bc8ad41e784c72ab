"""Requests to the store are signed as the verifier of our S3 front end and the signer of boto3 want it."""

from __future__ import annotations

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from services.engines.objects.settings import StoreCredentials
from services.engines.objects.signing import Signer
from services.frontends.s3 import sigv4

NOW_S = 1_700_000_000


@pytest.mark.parametrize("token", ["", "t/+="])
@pytest.mark.parametrize(
    ("method", "body", "condition"),
    [
        ("GET", b"", ""),
        ("GET", b"", "range:bytes=0-9"),
        ("PUT", b"body", "if-none-match:*"),
        ("PUT", b"", 'if-match:"e"'),
    ],
)
def test_a_signature_is_that_of_others(method: str, body: bytes, condition: str, token: str) -> None:
    path = "/b/p/loc/a%20%C3%BC%21-/x%24a"
    signer = Signer("127.0.0.1:8333", "us-east-1", StoreCredentials("access", "secret", token))
    head = signer.head(method, path, body, condition, NOW_S)
    first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert first == f"{method} {path} HTTP/1.1"
    fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
    assert fields.get("content-length") == (str(len(body)) if method == "PUT" else None)
    # The verifier of our own S3 front end; it knows no tokens.
    request = sigv4.SignedRequest(method, path, "", {name: [value] for name, value in fields.items()})
    claim = sigv4.parse(request)
    assert claim is not None
    sigv4.check(claim, request, "secret", "us-east-1", NOW_S)
    # The signer of boto3.
    signed = {name: value for name, value in fields.items() if name in claim.signed}
    theirs = AWSRequest(method, f"http://127.0.0.1:8333{path}", headers=signed, data=body)
    theirs.context["timestamp"] = fields["x-amz-date"]
    auth = S3SigV4Auth(BotoCredentials("access", "secret", token or None), "s3", "us-east-1")
    canonical = auth.canonical_request(theirs)
    assert fields["authorization"].endswith(auth.signature(auth.string_to_sign(theirs, canonical), theirs))
