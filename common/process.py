"""What a process says to the kernel about itself."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Under supervisord: have the kernel send SIGTERM when supervisord dies, even by `kill -9`.

    Otherwise a child would live on under init, holding the port and the lock against its successor.
    """
    if "SUPERVISOR_ENABLED" not in os.environ or not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)  # it died before the kernel knew
