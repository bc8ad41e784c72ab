"""The HTTP side of S3: from a request of Tornado's to an operation, and its answer or error back."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Iterator
from typing import Any

from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from common.config import Config
from common.errors import BlobkeepError, Damaged
from services.access.decisions import Access
from services.frontends.handler import Handler
from services.frontends.s3 import sigv4, xml
from services.frontends.s3.buckets import (
    CreateBucket,
    DeleteBucket,
    GetBucketLocation,
    HeadBucket,
    ListBuckets,
)
from services.frontends.s3.completing import CompleteMultipartUpload
from services.frontends.s3.copying import CopyObject
from services.frontends.s3.errors import UNEXPECTED, S3Error, described, fields_of, not_implemented
from services.frontends.s3.identity import identify
from services.frontends.s3.lists import ListObjects, ListObjectVersions
from services.frontends.s3.multipart import (
    AbortMultipartUpload,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
)
from services.frontends.s3.multipart_lists import ListMultipartUploads, ListParts
from services.frontends.s3.names import bucket_of_host, parse_target, text_of
from services.frontends.s3.reading import GetObject, GetObjectAttributes, HeadObject
from services.frontends.s3.request import Operation, Request, new_request_id
from services.frontends.s3.routes import decide
from services.frontends.s3.stubs import DefaultConfiguration, GetAcl, NoConfiguration, PutAcl, check_acl
from services.frontends.s3.writing import DeleteObject, DeleteObjects, PutObject
from services.rules.answers import SERVER, Fields
from services.rules.dates import format_http_date
from services.store import Multiparts, Store

OPERATIONS: dict[str, type[Operation]] = {
    operation.__name__: operation
    for operation in (
        *(ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation),
        *(PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects, CopyObject, GetObjectAttributes),
        *(ListObjects, ListObjectVersions),
        *(CreateMultipartUpload, UploadPart, UploadPartCopy, CompleteMultipartUpload, AbortMultipartUpload),
        *(ListParts, ListMultipartUploads),
        *(DefaultConfiguration, GetAcl, PutAcl, NoConfiguration),
    )
}


_FORM = "multipart/form-data"


class S3Handler(Handler):
    """Every request of the front end. `base`: the prefix of all paths, may be empty."""

    LOG = logging.getLogger("s3")
    _request_id = ""
    _operation: Operation | None = None

    def initialize(  # type: ignore[override]
        self,
        store: Store,
        parts: Multiparts,
        config: Config,
        access: Access,
        base: str,
        hosts: tuple[str, ...],
    ) -> None:
        super().initialize(store, config, access)
        self._parts = parts
        self._base = base
        self._hosts = hosts

    async def prepare(self) -> None:
        """Check identity, operation and rights before the body, and before a 100 Continue."""
        if self.answers_preflight():
            return
        self.take_expect()
        request = self._understood()
        name = decide(request.method, request.target, request.query.keys(), request.fields)
        check_acl(request)
        self._operation = self.incoming = operation = OPERATIONS[name](request)
        await operation.begin()

    def _understood(self) -> Request:
        asked = self.request
        host = asked.headers.get("Host")
        is_named, bucket = bucket_of_host(host or "", self._hosts)
        if not is_named:
            self.access.hosts.check(host)
        target = parse_target(asked.path.removeprefix(self._base) or "/", bucket)
        if asked.method == "POST" and asked.headers.get("Content-Type", "").startswith(_FORM):
            raise not_implemented("A form")  # which is signed in its body
        values = {name.lower(): asked.headers.get_list(name) for name in asked.headers}
        signing = sigv4.SignedRequest(asked.method or "", asked.path, asked.query, values)
        client, secret, claim = identify(signing, self.access, self.config.s3_region, time.time())
        if claim is not None and client is not None:
            self.user = client.name
        fields = {name: ",".join(given) for name, given in values.items()}
        query: dict[str, str] = {}
        for name, value in sigv4.split_query(asked.query):
            if name.lower().startswith("x-amz-"):
                # A presigned request has in its query what others have in fields, also if nobody signs.
                fields.setdefault(name.lower(), value)
            else:
                known = text_of(name)
                if known in query:
                    text = f"The parameter {known[:40]!r} occurs twice."
                    raise S3Error("InvalidArgument", text, ArgumentName=known)
                query[known] = value
        return Request(
            asked.method or "",
            target,
            query,
            fields,
            claim,
            secret,
            client,
            self.store,
            self._parts,
            self.config,
            self.access,
            self,
        )

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """See Handler."""
        operation = self._operation
        if operation is None or self._finished:
            return None
        try:
            taking = operation.take(chunk)
        except BlobkeepError as err:
            taking = _raise(err)
        return None if taking is None else self.receive(operation, taking)

    async def _answer(self) -> None:
        operation = self._operation
        assert operation is not None
        try:
            await operation.answer()
        except StreamClosedError:
            return
        except Damaged as err:
            await operation.abort(str(err))
            if not self._headers_written:
                raise
            self.cut_off()  # logged where it was found
        except BaseException as err:
            await operation.abort(str(err))
            raise

    get = head = put = post = delete = _answer

    # --- request.Answering ---

    def begin(self, status: int, fields: Fields) -> None:
        """See request.Answering."""
        self.set_status(status)
        for name, value in fields:
            self.add_header(name, value)

    def write_piece(self, data: bytes) -> Awaitable[None]:
        """See request.Answering."""
        self.write(data)
        return self.flush()

    # --- what Tornado asks ---

    def set_default_headers(self) -> None:
        """See RequestHandler."""
        self._request_id = self._request_id or new_request_id()
        self._headers = _Fields()
        self.set_header("Server", SERVER)
        self.set_header("Date", format_http_date(int(time.time())))
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("x-amz-request-id", self._request_id)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an exception that was not caught; Tornado calls this."""
        err = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(err, BlobkeepError):
            told = described(err)
        elif isinstance(err, HTTPError) and err.status_code == 403:  # Tornado's cross_origin_protection
            text = "A page of another origin asks for this in its reader's name: only programs may write."
            told = described(S3Error("AccessDenied", text))
        elif isinstance(err, HTTPError) and err.status_code == 405:
            told = described(S3Error("MethodNotAllowed", "The specified method is not allowed."))
        else:
            told = UNEXPECTED
        self.set_status(told.status)
        for name, value in fields_of(told):
            self.set_header(name, value)
        body = xml.error(told.code, told.text, told.details, self.request.path, self._request_id)
        self.close_where_unread()
        if self.request.method == "HEAD":
            self.set_header("Content-Length", "0")
            self.finish()
            return
        self.set_header("Content-Type", "application/xml")
        self.finish(body)


async def _raise(err: BlobkeepError) -> None:
    raise err


class _Fields(HTTPHeaders):
    """The fields of an answer. Names of metadata stay in lower case, since clients keep their spelling."""

    def get_all(self) -> Iterator[tuple[str, str]]:
        """See HTTPHeaders."""
        for name, value in super().get_all():
            yield (name.lower() if name.startswith("X-Amz-") else name), value
