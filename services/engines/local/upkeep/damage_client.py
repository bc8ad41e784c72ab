"""Reports a damaged blob to the server, over its unix socket (see damage_socket)."""

from __future__ import annotations

import http.client
import logging
import os
import socket

import msgspec

from common import logs
from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout

log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        # A socket's path holds 107 bytes, a data directory's may be longer: go through its descriptor.
        folder = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{os.path.basename(self._path)}")
        finally:
            os.close(folder)


def report_damage(data_dir: Layout, blob_id: int, seq: int, reason: str) -> bool:
    """True when the server has stopped serving that blob, False if it is not live. Raises OSError."""
    connection = _UnixConnection(data_dir.ours(layout.SOCKET_NAME))
    try:
        body = msgspec.json.encode({"id": blob_id, "seq": seq, "reason": reason})
        connection.request("POST", "/damaged", body)
        status = connection.getresponse().status
    except http.client.HTTPException as err:
        raise ConnectionError(f"the server did not answer: {err}") from err
    finally:
        connection.close()
    if status not in (200, 404):
        raise ConnectionError(f"the server answered {status}")
    return status == 200


def tell_server(data_dir: Layout, blob_id: int, location: str | None, seq: int, reason: str) -> None:
    """`report_damage`; logs the damage, and a report that failed."""
    log.error("blob %d of %r: damaged: %s", blob_id, location, reason, extra=logs.about(blob_id, location))
    try:
        report_damage(data_dir, blob_id, seq, reason)
    except OSError as err:
        log.error("blob %d: no server to tell: %s", blob_id, err, extra=logs.about(blob_id, location))
