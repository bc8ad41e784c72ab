"""How the server is: /healthz."""

from __future__ import annotations

from common.errors import BlobkeepError
from services import http_errors
from services.base_handler import BaseHandler


class HealthHandler(BaseHandler):
    """/healthz: 200 and "Ok!" while blobs can be written and read, 503 and why otherwise."""

    PUBLIC = True  # load balancers and supervisors have no token

    async def get(self) -> None:
        """See the class."""
        try:
            await self.store.check_writable()
        except BlobkeepError as err:
            self.set_status(503)
            self.set_header("Content-Type", "application/json")
            self.finish(http_errors.body(503, str(err)))
            return
        self.send_json("Ok!")

    head = get
