"""The server's unix socket in the data directory, where the recovery worker reports damage.

POST /damaged {"id": 1, "seq": 2, "reason": "..."}: the server, which owns the state, stops serving that blob
and quarantines it. Only the owner of the directory's files can connect (mode 0600).
"""

from __future__ import annotations

import logging

import msgspec
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from services.engines.local.serving.own_socket import listen
from services.engines.local.serving.store import LocalStore

log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 64 << 10


class DamageReport(msgspec.Struct, frozen=True):
    """A damaged blob: which one, and what is wrong with it. `seq` 0: its state cannot be read."""

    id: int
    seq: int
    reason: str


class DamagedHandler(RequestHandler):
    """/damaged"""

    def initialize(self, store: LocalStore) -> None:
        self.store = store

    def post(self) -> None:
        """200 if the blob was live, and is now handled; 404 if it is no longer live."""
        try:
            report = msgspec.json.decode(self.request.body, type=DamageReport)
        except (msgspec.DecodeError, UnicodeError):
            self.set_status(400)
            return
        blob = self.store.find_by_id(report.id, report.seq)
        if blob is None:
            self.set_status(404)  # replaced or deleted meanwhile: nothing to do
        elif report.seq == 0:
            self.store.damage.report_state(blob, report.reason)
        else:
            self.store.report_damage(blob, report.reason)


def serve_reports(path: str, store: LocalStore) -> HTTPServer:
    """Listen on the socket at `path`; a stale one is replaced, since we hold the lock.

    If the directory cannot hold a socket (SMB, exFAT, folders of a virtual machine's host) nobody listens.
    The recovery worker then only logs damage, and the server finds it when the blob is read.
    """
    server = HTTPServer(
        Application([("/damaged", DamagedHandler, {"store": store})]), max_body_size=_MAX_BODY_BYTES
    )
    try:
        server.add_socket(listen(path))
    except OSError as err:
        log.warning("no socket %s (%s): the recovery worker cannot report damage to us", path, err.strerror)
    return server
