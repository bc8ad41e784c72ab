"""The bytes of a blob by its id, also of a kept one, and undelete.

Rights depend on the location, which is found only through the id. So these handlers let every known client
in, and check its rights when they know the location.
"""

from __future__ import annotations

import functools

from common.errors import BadRequest
from services.access.decisions import Action
from services.frontends.native.blobs import BlobReader
from services.frontends.native.blobs_by_id import PREFIX, ByIdHandler
from services.frontends.native.headers import FORWARDED_PREFIX, write_outcome
from services.frontends.native.read_plan import plan_read
from services.frontends.native.write_conditions import write_condition
from services.store import Blob


class OneBlobHandler(ByIdHandler):
    """A resource under /blobs/{id}/. Each method must call `check_location` before it does anything."""

    ASKS_LATER = True
    TAKES_LINKS = False  # a link is for a location

    @functools.cached_property
    def blob_id(self) -> str:
        """The id, as in the path."""
        return self.request.path.removeprefix(PREFIX).partition("/")[0]

    def asked(self) -> tuple[Action, str | None]:
        """See BaseHandler: no location yet."""
        return self.action(), None

    def check_location(self, action: Action, location: str) -> None:
        """Raise Forbidden if the client may not do this to a blob of `location`."""
        if self.client is not None:
            self.client.check(action, location)


class BlobDataHandler(OneBlobHandler, BlobReader):
    """/blobs/{id}/data"""

    async def get(self) -> None:
        """The bytes, as under /store/, with conditions and ranges."""
        reading = await self.admin.open(self.blob_id)
        try:
            self.check_location(Action.READ, reading.blob.location)
            plan = plan_read(reading.blob, self.request.method or "", self.request.headers)
            await self.send_planned(reading, plan)
        finally:
            reading.close()

    head = get


class UndeleteHandler(OneBlobHandler):
    """/blobs/{id}/undelete"""

    ALLOW = "POST, OPTIONS"

    async def post(self) -> None:
        """201, `Location`, `ETag`; 409 where another blob is there, or 200 with ?replace, in its place."""
        if self.request.query not in ("", "replace"):
            raise BadRequest("There is one parameter, ?replace: also where another blob is there by now.")
        replaces = self.request.query == "replace"
        location = (await self.admin.describe(self.blob_id)).location
        self.check_location(Action.CREATE, location)
        judge = write_condition("PUT" if replaces else "POST", self.request.headers, put_creates=True)

        def judge_of_client(blob: Blob | None, damaged: bool) -> None:
            if damaged or (replaces and blob is not None):
                self.check_location(Action.UPDATE, location)
            judge(blob, damaged)

        blob, was_there = await self.admin.undelete(self.blob_id, location, judge_of_client)
        prefix = self.request.headers.get(FORWARDED_PREFIX)
        _, fields = write_outcome("POST", blob, replaced=was_there, forwarded_prefix=prefix)
        self.set_status(200 if was_there else 201)
        self.set_fields(fields)
        self.set_header("Blob-Id", str(blob.id))
        self.set_header("Content-Length", "0")
