"""The probe behind /healthz: writes a small file, syncs it and reads it back. "Ready" means that this worked.

It runs at most every few seconds, in a thread, whoever asks. The answer comes even if the disk hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

from common import durable
from common.errors import BlobkeepError, SyncFailed, from_os_error
from services.engine import Check
from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout

MAX_AGE_S = 3.0  # an answer may rest on a probe that old
PATIENCE_S = 2.0  # how long to wait for a probe; a slower disk is reported as such
_NAME = "probe"


class DiskProbe:
    """Used from the event loop alone."""

    def __init__(self, data_dir: Layout) -> None:
        self._path = f"{data_dir.ours(layout.STATUS_NAME)}/{_NAME}"
        self._began = 0.0
        self._ended = 0.0  # when the last one ended; 0.0: none has
        self._fault = ""
        self._seconds = 0.0
        self._under_way: asyncio.Future[None] | None = None

    async def check(self) -> Check:
        """The result of a probe not older than MAX_AGE_S, or of one begun now."""
        now = time.monotonic()
        if self._under_way is None and (not self._ended or now - self._ended > MAX_AGE_S):
            self._began = now
            self._under_way = asyncio.ensure_future(self._probe())
        if self._under_way is not None:
            await asyncio.wait([self._under_way], timeout=PATIENCE_S)
        now = time.monotonic()
        age_s = now - self._ended if self._ended else None
        if self._under_way is not None and now - self._began >= PATIENCE_S:
            return Check(
                "write", False, True, age_s, f"The disk has not answered for {now - self._began:.0f} s."
            )
        text = self._fault or f"A file was written, synced and read back in {self._seconds * 1000:.1f} ms."
        return Check("write", not self._fault, True, age_s, text)

    async def _probe(self) -> None:
        try:
            self._fault = await asyncio.to_thread(self._write_and_read)
        except Exception as err:  # noqa: BLE001 - a probe that cannot tell must not say that all is well
            self._fault = f"The probe failed: {err!r}."
        self._ended = time.monotonic()
        self._seconds = self._ended - self._began
        self._under_way = None

    def _write_and_read(self) -> str:
        """What is wrong, or nothing."""
        payload = os.urandom(64)
        try:
            with contextlib.suppress(FileExistsError):
                durable.make_folder(os.path.dirname(self._path))
            durable.replace(self._path, payload, synced=True)
            with open(self._path, "rb") as file:
                same = file.read() == payload
        except SyncFailed:
            return "The disk failed to keep a file that was written."
        except OSError as err:
            return str(from_os_error(err, "write a file"))
        except BlobkeepError as err:
            return str(err)
        return "" if same else "The disk gave back other bytes than were written."
