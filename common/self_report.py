"""What each process reports about itself: <name>.json in the folder of reports. Nothing depends on it.

It is replaced atomically when it has news, and not synced: on a full disk it only becomes old, and a disk on
which nothing happens may sleep. A reader asks the kernel whether the process that wrote it still lives
(`is_alive`), and wakes up from time to time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import Annotated

import msgspec

from common import durable
from common.ours import read_ours
from common.process import start_ticks

log = logging.getLogger(__name__)

PROCESSES = ("server", "gc", "recovery")
_MAX_BYTES = 1 << 20
# A file may contain anything: a number that is too large for our sums is not ours.
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
MAX_NAMED = 20  # blobs named in one report: enough for a feed, small enough to write every few seconds


class NamedBlob(msgspec.Struct, frozen=True):
    """A blob that a pass removed or found damaged. `location` is None if its state cannot be read."""

    id: int | str
    location: str | None
    text: str = ""


class LastPass(msgspec.Struct, frozen=True):
    """A pass that ended. `began_s`: Unix time; `found`: blobs it had to act on; `named`: some of them.

    `kept`: blobs that were deleted or replaced and whose time has not come, with the bytes of their data.
    """

    began_s: float
    seconds: float
    found: Count = 0
    removed: Count = 0
    freed_bytes: Count = 0
    errors: Count = 0
    error: str = ""  # why the pass failed as a whole
    named: tuple[NamedBlob, ...] = ()
    kept: Count = 0
    kept_bytes: Count = 0


class Scrub(msgspec.Struct, frozen=True):
    """Re-reading: sums since the start of the process, and how far its round over all blobs is.

    `round_blobs` is 0 between two rounds; the next begins at `next_round_s` (Unix time).
    """

    checked: Count = 0
    checked_bytes: Count = 0
    damaged: Count = 0
    round_blobs: Count = 0
    round_left: Count = 0
    next_round_s: float = 0.0
    unreadable: Count = 0


class Totals(msgspec.Struct, frozen=True):
    """Sums since the start of the process."""

    passes: Count = 0
    failed_passes: Count = 0
    removed: Count = 0
    freed_bytes: Count = 0
    errors: Count = 0


class SelfReport(msgspec.Struct):
    """One file. `start_ticks`: when the kernel says that the process started; with the pid, who it is.

    `starts` counts the starts in this directory, `crashes` those that ended without a report of the stop.
    `written_s`: Unix time of this report. `interval_s`: from one pass to the next; only a pass with news is
    reported.
    """

    name: str
    pid: Count
    start_ticks: Count
    started_s: float
    interval_s: float
    starts: Count = 1
    crashes: Count = 0
    stopped: bool = False
    written_s: float = 0.0
    last: LastPass | None = None
    totals: Totals = Totals()
    scrub: Scrub | None = None
    named: tuple[NamedBlob, ...] = ()  # of all passes, the newest last: who looks now and then misses none
    named_count: Count = 0  # how many were ever named since the start


def path_of(folder: str, name: str) -> str:
    """The file of the process `name`."""
    return f"{folder}/{name}.json"


def begin(folder: str, name: str, interval_s: float) -> SelfReport:
    """The first report of this process, which counts the earlier ones; writes it."""
    pid = os.getpid()
    report = SelfReport(name, pid, start_ticks(pid) or 0, time.time(), interval_s)
    before = read(folder, name)
    if before is not None:
        report.starts = before.starts + 1
        report.crashes = before.crashes + (not before.stopped)
    with contextlib.suppress(OSError):  # it is there already, mostly; `write` says what else is wrong
        durable.make_folder(folder)
    write(folder, report)
    return report


def write(folder: str, report: SelfReport) -> None:
    """Replace the file. An error is only logged in detail, since nothing depends on the file."""
    report.written_s = time.time()
    try:
        durable.replace(path_of(folder, report.name), msgspec.json.encode(report), synced=False)
    except OSError as err:
        log.debug("no self report: %s", err)


def keep(folder: str, report: SelfReport) -> None:
    """Write it if the file is not this process' own: it could not be written before, or was removed."""
    found = read(folder, report.name)
    if found is None or (found.pid, found.start_ticks) != (report.pid, report.start_ticks):
        write(folder, report)


def news_of(report: SelfReport) -> bytes:
    """Its content without what changes in each pass that has nothing to do."""
    last = report.last
    if last is not None:
        last = msgspec.structs.replace(last, began_s=0.0, seconds=0.0)
    scrub = report.scrub
    if scrub is not None:
        # By the clock, which is set a little each time.
        scrub = msgspec.structs.replace(scrub, next_round_s=0.0)
    totals = msgspec.structs.replace(report.totals, passes=0)
    said = msgspec.structs.replace(report, written_s=0.0, last=last, totals=totals, scrub=scrub)
    return msgspec.json.encode(said)


def read(folder: str, name: str) -> SelfReport | None:
    """The last report of the process `name`; None where there is none that parses."""
    try:
        return msgspec.json.decode(read_ours(path_of(folder, name), _MAX_BYTES), type=SelfReport)
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def is_alive(report: SelfReport) -> bool:
    """True while the process that wrote it runs; its pid may be another process's by now."""
    return not report.stopped and start_ticks(report.pid) == report.start_ticks
