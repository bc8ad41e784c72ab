"""The processes that tests fork: what they offer holds whenever they end."""

from __future__ import annotations

import os
import signal

from tests.support.warm import Forked


class _Late:
    """A source that has not heard yet that the process ended."""

    def status(self, pid: int, timeout: float | None) -> int | None:
        return None


def test_a_process_that_ends_just_before_its_signal_is_no_error() -> None:
    pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
    handle = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    Forked(_Late(), pid, handle).send_signal(signal.SIGKILL)  # type: ignore[arg-type]
    os.close(handle)
