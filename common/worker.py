"""The loop of the gc and of the recovery worker: a pass, a pause, until SIGTERM or SIGINT.

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

import msgspec

from common import config, logs, process, self_report
from common.errors import BlobkeepError, ConfigError, Unavailable
from common.self_report import LastPass, SelfReport

log = logging.getLogger("worker")

STOP = frozenset({signal.SIGTERM, signal.SIGINT})
EXIT_FAILED = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT  # as shells count
# After errors in a row the pause doubles up to this: it spares a failing disk, and soon notices a repaired
# one.
MAX_BACKOFF_S = 60.0

# For so long after news each pass is reported, so that the server learns to the second which passes have
# begun.
STILL_TOLD_S = 3.0

W = TypeVar("W", bound="Worker")


class Worker(ABC):
    """One worker. `name` is for logs; `interval_s` is from the start of one pass to the start of the next."""

    def __init__(self, name: str, interval_s: float, reports_dir: str | None = None) -> None:
        self.name = name
        self.interval_s = interval_s
        self._reports_dir = reports_dir  # the folder in which it tells of its passes, if in any
        self.about_pass = LastPass(0.0, 0.0)  # what `run_once` says of itself
        self.about_me: SelfReport | None = None  # in the loop alone
        self._told, self._told_at = b"", 0.0  # the last news, and when they were
        self._failures = 0  # passes in a row that ended with an error
        self._last_error = ""
        self._stopping = False

    @abstractmethod
    def run_once(self) -> str | None:
        """One pass; errors are raised. Returns its log line, None if it did nothing worth one."""

    def tell(self, seconds: float, *, failed: str = "") -> None:
        """Write the self report after a pass that has news. `failed`: why, if it ended with an error."""
        report = self.about_me
        if report is None or self._reports_dir is None:
            return
        last = msgspec.structs.replace(self.about_pass, seconds=seconds, error=failed)
        sums = report.totals
        report.totals = self_report.Totals(
            sums.passes + 1,
            sums.failed_passes + bool(failed),
            sums.removed + last.removed,
            sums.freed_bytes + last.freed_bytes,
            sums.errors + last.errors,
        )
        report.last = last
        report.named = (*report.named, *last.named)[-self_report.MAX_NAMED :]
        report.named_count += len(last.named)
        news = self_report.news_of(report)
        if news != self._told:
            self._told, self._told_at = news, time.monotonic()
        if time.monotonic() - self._told_at < STILL_TOLD_S:
            self_report.write(self._reports_dir, report)

    def should_stop(self) -> bool:
        """True after a stop signal: a long pass asks between two blobs, and returns."""
        return self._stopping or bool(signal.sigpending() & STOP)

    def pause(self, seconds: float) -> None:
        """Sleep until a stop signal at most; `should_stop` is then true."""
        if not signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= STOP:
            time.sleep(seconds)  # not in the loop: a signal acts as it does on any program
        elif not self._stopping:
            came = signal.sigtimedwait(STOP, max(0.0, seconds))
            # Suspended and continued past the time (SIGSTOP, SIGCONT), Python 3.11 returns an empty signal.
            self._stopping = came is not None and came.si_signo in STOP

    def guarded_pass(self) -> None:
        """One pass that never raises.

        The first of several equal errors in a row is logged with its traceback, the first pass that
        succeeds after them as a recovery. Unavailable and ConfigError have no traceback: the text says it
        all, and who raised Unavailable has logged the cause.
        """
        began = time.monotonic()
        self.about_pass = LastPass(time.time(), 0.0)
        try:
            line = self.run_once()
        except Exception as err:
            said = str(err) if isinstance(err, BlobkeepError) else repr(err)
            self.tell(time.monotonic() - began, failed=said[:300])
            self._failures += 1
            if said == self._last_error:
                log.error("pass failed again, %d times in a row: %s", self._failures, said)
            elif isinstance(err, Unavailable | ConfigError):
                log.error("pass failed: %s", said)
            else:
                log.exception("pass failed")
            self._last_error = said
            return
        self.tell(time.monotonic() - began)
        if self._failures:
            log.info("recovered after %d failed passes", self._failures)
            self._failures = 0
            self._last_error = ""
        if line:
            log.info("pass: %s", line)

    def period_s(self) -> float:
        """From the start of the last pass to that of the next: doubled with each failure in a row."""
        doubled = self.interval_s * 2.0 ** min(self._failures, 16)
        return max(self.interval_s, min(doubled, MAX_BACKOFF_S))

    def run_forever(self) -> None:
        """Pass after pass; returns after a stop signal. Only the main thread may call it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
        if self._reports_dir is not None:
            self.about_me = self_report.begin(self._reports_dir, self.name, self.interval_s)
        while not self._stopping:
            began = time.monotonic()
            self.guarded_pass()
            self.pause(self.period_s() - (time.monotonic() - began))
        if self.about_me is not None and self._reports_dir is not None:
            self.about_me.stopped = True
            self_report.write(self._reports_dir, self.about_me)


def run_worker(
    name: str,
    make: Callable[[config.Config], W],
    argv: Sequence[str] | None,
    once: Callable[[config.Config], int] | None = None,
) -> int:
    """The `main` of a worker process; returns its exit status: 0 after a stop signal.

    `make` builds the worker from the options. `once`: what --once does, if it is not a single pass.
    """
    os.umask(0o077)  # files 0600 and folders 0700, whatever umask we were given
    try:
        options = config.load(sys.argv[1:] if argv is None else argv, name)
        logs.setup(name, debug=options.debug, log_format=options.log_format)
        process.die_with_parent()
        if options.once and once is not None:
            return once(options)
        worker = make(options)
        if not options.once:
            worker.run_forever()
            return 0
        log.info("pass: %s", worker.run_once() or "nothing to do")
        return 0
    except ConfigError as err:
        sys.stderr.write(f"{name}: {err}\n")  # for the user at the terminal; the log may not be set up
        return config.EXIT_USAGE
    except BlobkeepError as err:
        log.critical("%s", err)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
