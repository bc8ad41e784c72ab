"""Runs one step on disk of an upload in a thread, and translates its errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from common.errors import GIVEN_UP, BlobkeepError, Busy, StorageFailed, SyncFailed, from_os_error

log = logging.getLogger(__name__)

T = TypeVar("T")


class Stepping(Protocol):
    """What a step on disk needs of the store."""

    threads: Executor

    def stop_for(self, err: SyncFailed) -> None: ...


async def disk_step(owner: Stepping, step: Callable[[], T]) -> T:
    """Run `step` in a thread of the disk's. Raises what it raises, an OSError as one of ours.

    `run_in_executor` with a shield takes twice the processor time: 26 µs a step where 16 run at once, and
    this 14.
    """
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    results: list[T] = []  # one, or none and one error
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(step())
        except BaseException as err:  # noqa: BLE001 - it goes to the caller
            errors.append(err)
        loop.call_soon_threadsafe(over.set)

    owner.threads.submit(run)
    try:
        await over.wait()
    except asyncio.CancelledError:
        await over.wait()  # a thread cannot be stopped, and an `abort` must not overtake it
        if errors and isinstance(errors[0], SyncFailed):
            owner.stop_for(errors[0])  # whoever waits, and for whatever reason no more (design rule 5)
        raise
    try:
        if errors:
            raise errors.pop()  # taken out, or it would refer to itself
    except SyncFailed as err:
        owner.stop_for(err)
        raise
    except OSError as err:
        raise disk_error(err, "write the blob") from err
    return results[0]


def disk_error(err: OSError, doing: str) -> BlobkeepError:
    """As `from_os_error`. An error whose text sends the reader to the log is there, with the file's name."""
    error = from_os_error(err, doing)
    if type(error) is StorageFailed:
        log.error("could not %s: %s", doing, err)
    return error


def broken_by(err: BaseException) -> Exception:
    """What an upload raises from then on, if `err` ended a step in which its bytes were to be written."""
    return err if isinstance(err, Exception) else Busy(GIVEN_UP)
