"""Which client signed a request: shared by the handler and the fast path."""

from __future__ import annotations

from typing import NamedTuple

from services.access.decisions import Access, Client
from services.frontends.s3 import sigv4
from services.frontends.s3.errors import S3Error


class Identity(NamedTuple):
    """`client`: None if everyone may do everything. `secret`: its key, to check signed chunks."""

    client: Client | None
    secret: str
    claim: sigv4.Claim | None


def identify(signing: sigv4.SignedRequest, access: Access, region: str, now_s: float) -> Identity:
    """Check the signature; the identity that signed the request. Raises S3Error."""
    claim = _claim(signing, access)
    if access.is_open:
        return Identity(None, "", claim)
    if claim is None:
        if access.everybody is None:
            raise S3Error("AccessDenied", "Sign the request: nothing here is for everybody.")
        return Identity(access.everybody, "", None)
    found = access.client_of_key(claim.access_key)
    if found is None:
        raise S3Error(
            "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
        )
    client, secret = found
    sigv4.check(claim, signing, secret, region, now_s)
    return Identity(client, secret, claim)


def _claim(signing: sigv4.SignedRequest, access: Access) -> sigv4.Claim | None:
    try:
        return sigv4.parse(signing)
    except S3Error:
        if access.is_open and not signing.query:
            return None  # everyone may do everything, however they sign
        raise
