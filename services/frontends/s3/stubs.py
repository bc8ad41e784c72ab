"""Requests that always have the same answer here: no versions, one owner, no policies."""

from __future__ import annotations

from services.access.decisions import Action
from services.frontends.s3 import xml
from services.frontends.s3.body import XmlOperation
from services.frontends.s3.buckets import require_there
from services.frontends.s3.errors import S3Error, not_implemented
from services.frontends.s3.request import Operation, Request

_XSI = "http://www.w3.org/2001/XMLSchema-instance"

# From the sub-resource to the answer of S3 if nothing was configured.
_NOTHING = {
    "policy": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "policyStatus": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "publicAccessBlock": (
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    ),
    "cors": ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "lifecycle": ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
    "website": ("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"),
    "tagging": ("NoSuchTagSet", "The TagSet does not exist"),
    "encryption": (
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found",
    ),
    "replication": (
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
    ),
    "object-lock": (
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    ),
    "ownershipControls": (
        "OwnershipControlsNotFoundError",
        "The bucket ownership controls were not found",
    ),
}

# The same where S3 has a document for that.
_DEFAULTS = {
    "versioning": xml.document("VersioningConfiguration"),
    "accelerate": xml.document("AccelerateConfiguration"),
    "logging": xml.document("BucketLoggingStatus"),
    "notification": xml.document("NotificationConfiguration"),
    "requestPayment": xml.document("RequestPaymentConfiguration", xml.tag("Payer", "BucketOwner")),
}

_PRIVATE = frozenset({"private", "bucket-owner-full-control", "bucket-owner-read"})


def check_acl(request: Request) -> None:
    """Raise S3Error for an ACL that would change anything: there are no ACLs here.

    Everything is private, except what the configuration makes public: that is `public-read`.
    """
    acl = request.fields.get("x-amz-acl")
    if acl is None or acl in _PRIVATE or (acl == "public-read" and request.is_public(request.location)):
        return
    advice = ": leave it out, or let everybody read the prefix by the option public"
    raise not_implemented(f"The ACL {acl[:40]!r}", advice if acl == "public-read" else ": leave it out")


class _Stub(Operation):
    """A question about a bucket or an object, for who may read it."""

    async def begin(self) -> None:
        """See Operation."""
        request = self.request
        request.check_version()
        if request.target.key:
            request.check(Action.READ, request.location)
        else:
            request.check_bucket()


class NoConfiguration(_Stub):
    """404, with the code of S3 for a configuration that does not exist."""

    async def answer(self) -> None:
        """See Operation."""
        await require_there(self.request)
        name = next(name for name in _NOTHING if name in self.request.query)
        if name == "tagging" and self.request.target.key:
            self.request.send(200, xml.document("Tagging", xml.block("TagSet")))
            return
        raise S3Error(*_NOTHING[name])


class DefaultConfiguration(_Stub):
    """200, with what S3 has where nobody configured anything."""

    async def answer(self) -> None:
        """See Operation."""
        await require_there(self.request)
        self.request.send(200, next(_DEFAULTS[name] for name in _DEFAULTS if name in self.request.query))


class GetAcl(_Stub):
    """The one owner may do everything."""

    async def answer(self) -> None:
        """See Operation."""
        await require_there(self.request)
        grantee = f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser">{xml.OWNER}</Grantee>'
        grant = xml.block("Grant", grantee, xml.tag("Permission", "FULL_CONTROL"))
        body = xml.document(
            "AccessControlPolicy", xml.block("Owner", xml.OWNER), xml.block("AccessControlList", grant)
        )
        self.request.send(200, body)


class PutAcl(XmlOperation):
    """Accepts only an ACL that changes nothing: see check_acl."""

    async def begin(self) -> None:
        """See Operation."""
        await super().begin()
        request = self.request
        request.check_version()
        request.check(Action.DELETE, request.location)  # the right to replace it

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        if await self.document("AccessControlPolicy") is not None:
            raise not_implemented("An ACL")
        await require_there(request)
        request.send(200)
