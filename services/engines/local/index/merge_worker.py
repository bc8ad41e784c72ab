"""A process that merges runs of the index for the server, on any free core.

`python -m services.engines.local.index.merge_worker`. It reads a Task from stdin and writes the RunInfo of
the new run to stdout, both in msgpack. The exit status is DAMAGED if a run is damaged. It holds no lock, and
only writes its own new file, which nobody reads before the manifest names it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from common import process
from services.engines.local.index.format import IndexDamaged, RunInfo
from services.engines.local.index.merging import merged
from services.engines.local.index.run import Run
from services.engines.local.index.run_writer import write_run
from services.engines.local.index.stretches import NetsOfRuns

DAMAGED = 3
_NICE = 10


class Task(msgspec.Struct, array_like=True, frozen=True):
    """Merge `runs` (the newest first), files in the folder `home`, into the new file `name`."""

    home: str
    runs: list[RunInfo]
    are_all: bool
    name: str
    salt: bytes


def work(task: Task) -> RunInfo:
    """Do it here. Raises IndexDamaged, OSError, SyncFailed, OverflowError."""
    runs = [Run(f"{task.home}/{info.name}", info) for info in task.runs]
    most = sum(info.count for info in task.runs)
    items = merged(runs, are_all=task.are_all)
    nets = None if task.are_all else NetsOfRuns([run.nets() for run in runs])
    return write_run(f"{task.home}/{task.name}", items, most, task.salt, nets)


def have_done(task: Task) -> RunInfo:
    """Do it in a process of its own; waits for it. Raises as `work` does."""
    command, environment = process.python_program("services.engines.local.index.merge_worker")
    done = subprocess.run(
        command, input=msgspec.msgpack.encode(task), capture_output=True, env=environment, check=False
    )
    if done.returncode == DAMAGED:
        raise IndexDamaged(f"The index is damaged: {done.stderr.decode(errors='replace').strip()}")
    try:
        if done.returncode == 0:
            return msgspec.msgpack.decode(done.stdout, type=RunInfo)
    except msgspec.MsgspecError:
        pass
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    raise ChildProcessError(f"runs of the index could not be merged: {last}")


def main() -> int:
    """One task."""
    os.umask(0o077)
    process.die_with_parent()
    os.nice(_NICE)
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task)
    try:
        info = work(task)
    except IndexDamaged as err:
        sys.stderr.write(f"{err}\n")
        return DAMAGED
    sys.stdout.buffer.write(msgspec.msgpack.encode(info))
    return 0


if __name__ == "__main__":
    sys.exit(main())
