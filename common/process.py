"""How processes start and end, and the processors and the memory that they may use."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from gc import collect as collect_garbage
from typing import NoReturn

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # where `common` and `services` are
_PR_SET_PDEATHSIG = 1
_CPU_LIMIT = "/sys/fs/cgroup/cpu.max"  # of our control group: "max 100000", or microseconds in so many

# Of mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_FROM_HEAP_BYTES = 2 << 20  # less comes from the heap
_KEPT_BYTES = 8 << 20  # free at the end of the heap

# Set by supervisord for its children, and by our plugin inside it (services/supervision.py).
UNDER_SUPERVISOR = "SUPERVISOR_ENABLED"
SUPERVISOR_PID = "SUPERVISOR_PID"


def leave(status: int) -> NoReturn:
    """End this process with `status`, as sys.exit does, but for one library.

    The threads of obstore's runtime may still report the end of a request while the interpreter shuts down,
    which aborts the process. So if it was loaded, the interpreter is not shut down: output is flushed, and
    the kernel ends the process.
    """
    if "obstore" not in sys.modules:
        sys.exit(status)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def end_with_threads(status: int) -> None:
    """From now on, if a thread ends by an exception, end this process at once, with `status`.

    Others would wait for that thread for ever: those that write, for the committer. To end at once is as safe
    as a kill, from which each start recovers. Call it when the log is set up: its hook tells the exception.
    """
    tell = threading.excepthook

    def end(args: threading.ExceptHookArgs) -> None:
        try:
            tell(args)
            logging.shutdown()
        finally:
            os._exit(status)

    threading.excepthook = end


def die_with_parent() -> None:
    """Under supervisord: have the kernel send us SIGTERM when supervisord dies, even by `kill -9`.

    Otherwise we would live on under init, and keep the port and the lock from our successor. Call it once,
    early. Does nothing if no supervisord started us.
    """
    if UNDER_SUPERVISOR not in os.environ:
        return
    signal_at_parents_death(signal.SIGTERM)
    if is_orphan():
        os.kill(os.getpid(), signal.SIGTERM)  # it died before the kernel knew what we want


def signal_at_parents_death(number: int) -> None:
    """Have the kernel send us this signal when our parent ends, also if we run another program by then.

    Does nothing where the kernel is not Linux. Raises OSError.
    """
    if not sys.platform.startswith("linux"):
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def is_orphan() -> bool:
    """True if the supervisord that started us is gone: then only we hold the listening socket."""
    pid = os.environ.get(SUPERVISOR_PID, "")
    if UNDER_SUPERVISOR not in os.environ or not pid.isdecimal() or os.getppid() == int(pid):
        return False
    return start_ticks(int(pid)) is None


def start_ticks(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since boot; None if no process with that pid lives.

    Not as time of day, which changes when the clock is set.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])  # dead, but its parent has not looked yet


def python_program(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a new process that runs `module` of ours.

    Modules are imported from the same places as here, so Python need not search for them (-S, -P).
    """
    path = os.pathsep.join([_HOME, *map(os.path.abspath, sys.path)])
    return [sys.executable, "-S", "-P", "-m", module, *arguments], {**os.environ, "PYTHONPATH": path}


def keep_freed_memory() -> None:
    """Let the C library keep some MiB of freed memory, instead of returning it and getting it again.

    Data of clients comes in pieces of up to 256 KiB. With glibc's own limits these take pages from the kernel
    again and again, which clears them first: 160 page faults a MiB with 16 uploads, otherwise half. Other C
    libraries have no such call, and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _FROM_HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_memory() -> None:
    """Collect garbage, and let the C library return the memory to the system.

    Takes 0.1 s and more with a million objects, and nothing else runs meanwhile.
    """
    collect_garbage()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def usable_cpus() -> int:
    """How many processors may work for us at a time: at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with contextlib.suppress(OSError, ValueError), open(_CPU_LIMIT, encoding="ascii") as file:
        quota, period = file.read().split()
        count = min(count, int(quota) // int(period))
    return max(1, count)
