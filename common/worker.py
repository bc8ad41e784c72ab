"""The loop of the gc and of the recovery worker: a pass, a pause, until SIGTERM.

`run_once` does one pass and may be killed at any instruction; the loop only repeats it. Stop signals are
blocked and waited for, so that sleeping and noticing one is a single call without a race.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from common import config, durable, logs, process
from common.errors import BlobkeepError, ConfigError

log = logging.getLogger("worker")

STOP = {signal.SIGTERM, signal.SIGINT}
_MAX_BACKOFF_S = 60.0

W = TypeVar("W", bound="Worker")


class Worker(ABC):
    """One worker. `name` is for logs; `interval_s` is from the begin of a pass to that of the next."""

    def __init__(self, name: str, interval_s: float) -> None:
        self.name = name
        self.interval_s = interval_s
        self._failures = 0

    @abstractmethod
    def run_once(self) -> str | None:
        """One pass. Returns its log line, None where it did nothing worth one."""

    def should_stop(self) -> bool:
        """True once a stop signal waits: a long pass looks between two blobs."""
        return bool(signal.sigpending() & STOP)

    def pause(self, seconds: float) -> None:
        """Sleep inside a pass, at most until a stop signal comes (which stays pending)."""
        end = time.monotonic() + seconds
        while not self.should_stop() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def guarded_pass(self) -> None:
        """One pass that never raises: an error is logged with its traceback; the next pass comes later."""
        try:
            line = self.run_once()
        except Exception:
            self._failures += 1
            log.exception("pass failed (%d in a row)", self._failures)
            return
        if self._failures:
            log.info("recovered after %d failed passes", self._failures)
            self._failures = 0
        if line:
            log.info("pass: %s", line)

    def run_forever(self) -> None:
        """Pass after pass until a stop signal."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
        while True:
            began = time.monotonic()
            self.guarded_pass()
            wait_s = min(self.interval_s * 2**self._failures, max(_MAX_BACKOFF_S, self.interval_s))
            if signal.sigtimedwait(STOP, max(0.0, wait_s - (time.monotonic() - began))) is not None:
                return


def run_worker(
    name: str,
    make: Callable[[config.Config], W],
    argv: Sequence[str] | None,
    once: Callable[[config.Config, W], int] | None = None,
) -> int:
    """The `main` of a worker process; returns its exit status. `once`: what --once does, if not one pass."""
    os.umask(0o077)
    try:
        options = config.load(sys.argv[1:] if argv is None else argv, name)
        logs.setup(name, debug=options.debug, log_format=options.log_format)
        process.die_with_parent()
        if options.sync == "none":
            durable.trade_safety_for_speed()
        worker = make(options)
        if options.once:
            if once is not None:
                return once(options, worker)
            line = worker.run_once()
            log.info("pass: %s", line or "nothing to do")
            return 0
    except ConfigError as err:
        print(f"{name}: {err}", file=sys.stderr)  # noqa: T201 - for the user at the terminal
        return config.EXIT_USAGE
    except BlobkeepError as err:
        log.critical("%s", err)
        return 1
    worker.run_forever()
    return 0
