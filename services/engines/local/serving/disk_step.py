"""Runs one step on disk of an upload in a thread, and translates its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from common.errors import SyncFailed, from_os_error

T = TypeVar("T")


class Stepping(Protocol):
    """What a step on disk needs of the store."""

    threads: Executor

    def stop_for(self, err: SyncFailed) -> None: ...


async def disk_step(owner: Stepping, step: Callable[[], T]) -> T:
    """Run `step` in a thread of the disk's. Raises what it raises, an OSError as one of ours."""
    work = asyncio.get_running_loop().run_in_executor(owner.threads, step)
    try:
        # Shielded: a thread cannot be stopped, and an `abort` must not overtake it.
        return await asyncio.shield(work)
    except SyncFailed as err:
        owner.stop_for(err)
        raise
    except OSError as err:
        raise from_os_error(err, "write the blob") from err
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
