"""The pass loop: signals, errors and their pauses, and the `main` around it."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.config import Config
from common.errors import ConfigError, LockHeld, Unavailable
from common.worker import MAX_BACKOFF_S, STOP, Worker, run_worker

ROOT = Path(__file__).resolve().parents[2]


class Scripted(Worker):
    """A worker whose passes are the given functions, one after the other."""

    def __init__(self, *passes: Callable[[], str | None], interval_s: float = 0.001) -> None:
        super().__init__("test", interval_s)
        self.passes = list(passes)
        self.done = 0

    def run_once(self) -> str | None:
        self.done += 1
        return self.passes.pop(0)()


def nothing() -> None:
    """A pass that did nothing."""


def fail() -> str | None:
    raise OSError(5, "Input/output error")


def stop() -> None:
    """A pass during which somebody stops the worker."""
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # not to another thread of the runner


@pytest.fixture
def _signals() -> Iterator[None]:
    """For tests that send stop signals to this process: no signal gets out of the test."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    yield
    while signal.sigtimedwait(STOP, 0) is not None:
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.usefixtures("_signals")
def test_passes_repeat_until_a_stop_signal_and_the_pass_under_way_is_finished() -> None:
    worker = Scripted(nothing, lambda: "removed=1", stop, nothing)
    worker.run_forever()
    assert worker.done == 3


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("number", sorted(STOP))
def test_a_stop_signal_ends_a_long_pause_at_once(number: signal.Signals) -> None:
    worker = Scripted(nothing, nothing, interval_s=3600)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    timer = threading.Timer(0.05, signal.pthread_kill, (main_thread, number))
    timer.start()
    worker.run_forever()
    timer.join()
    assert worker.done == 1


@pytest.mark.usefixtures("_signals")
def test_a_long_pass_sees_the_stop_signal_and_its_pauses_end() -> None:
    seen = []

    def long_pass() -> None:
        seen.append(worker.should_stop())
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        seen.append(worker.should_stop())
        worker.pause(3600)
        worker.pause(3600)
        seen.append(worker.should_stop())

    worker = Scripted(long_pass, nothing)
    worker.run_forever()
    assert seen == [False, True, True]
    assert worker.done == 1


@pytest.mark.usefixtures("_signals")
def test_an_error_ends_the_pass_not_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    worker = Scripted(fail, lambda: "removed=1", stop)
    caplog.set_level(logging.INFO)
    worker.run_forever()
    assert [record.getMessage() for record in caplog.records] == [
        "pass failed",
        "recovered after 1 failed passes",
        "pass: removed=1",
    ]


def test_only_the_first_of_equal_errors_has_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    worker = Scripted(fail, fail, fail, lambda: str(1 // 0), fail)
    for _ in range(5):
        worker.guarded_pass()
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False, True, True]
    assert "3 times in a row: OSError(5" in caplog.records[2].getMessage()


def test_what_is_not_to_be_reached_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def unreachable() -> str:
        raise Unavailable("The object store cannot be reached: try again.") from OSError("refused")

    def misconfigured() -> str:
        raise ConfigError("objects_endpoint: it must be a URL.")

    worker = Scripted(unreachable, unreachable, misconfigured)
    for _ in range(3):
        worker.guarded_pass()
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("pass failed: The object store cannot be reached: try again.", None),
        ("pass failed again, 2 times in a row: The object store cannot be reached: try again.", None),
        ("pass failed: objects_endpoint: it must be a URL.", None),
    ]


def test_the_pause_doubles_with_errors_up_to_a_minute_and_is_back_after_a_success() -> None:
    worker = Scripted(*[fail] * 2000, nothing, interval_s=5)
    periods = []
    for _ in range(2000):
        worker.guarded_pass()
        periods.append(worker.period_s())
    assert periods[:5] == [10, 20, 40, MAX_BACKOFF_S, MAX_BACKOFF_S]
    assert set(periods[5:]) == {MAX_BACKOFF_S}
    worker.guarded_pass()
    assert worker.period_s() == 5


def test_errors_never_make_passes_more_frequent_than_asked() -> None:
    worker = Scripted(fail, interval_s=600)
    worker.guarded_pass()
    assert worker.period_s() == 600


def test_once_is_one_strict_pass(tmp_path: Path) -> None:
    argv = ["-c", os.devnull, "--dir", str(tmp_path), "--once"]
    worker = Scripted(nothing)
    assert run_worker("gc", lambda options: worker, argv) == 0
    assert worker.done == 1
    with pytest.raises(OSError, match="Input/output error"):
        run_worker("gc", lambda options: Scripted(fail), argv)


def test_what_once_does_may_be_given(tmp_path: Path) -> None:
    argv = ["-c", os.devnull, "--dir", str(tmp_path), "--once"]

    def check(options: Config) -> int:
        return 7

    assert run_worker("gc", lambda options: Scripted(), argv, check) == 7


@pytest.mark.parametrize(("error", "status"), [(ConfigError("too wide"), 2), (LockHeld("taken"), 1)])
def test_a_worker_that_cannot_start_says_so_in_one_line(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(options: Config) -> Scripted:
        raise error

    assert run_worker("gc", make, ["-c", os.devnull]) == status
    for handler in logging.getLogger().handlers:
        handler.flush()
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert stderr.endswith(f"{error}\n")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level, sys.excepthook, threading.excepthook
    yield
    logging.captureWarnings(False)
    root.handlers, root.level, sys.excepthook, threading.excepthook = before


PROGRAM = """
import sys
from common.worker import Worker, run_worker

class Ticker(Worker):
    def run_once(self):
        print("pass", flush=True)

sys.exit(run_worker("gc", lambda options: Ticker("gc", 3600.0), ["-c", "/dev/null"]))
"""


@pytest.mark.parametrize("number", sorted(STOP))
def test_a_process_that_is_told_to_stop_exits_with_0(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"pass\n"
        process.send_signal(number)
        assert process.wait(timeout=120) == 0


ORPHAN = """
import os, subprocess, sys
os.environ["SUPERVISOR_ENABLED"] = "1"
os.environ["SUPERVISOR_PID"] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline(), flush=True)
sys.stdin.read()
"""


def test_a_worker_of_a_killed_supervisor_ends() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline().split()[0]))
        parent.kill()
    try:
        wait_for_end(child)
    finally:
        os.close(child)


LATE = """
import os, sys, time
os.environ["SUPERVISOR_ENABLED"] = "1"
os.environ["SUPERVISOR_PID"] = str(os.getpid())
if os.fork():
    os._exit(0)
while os.getppid() == int(os.environ["SUPERVISOR_PID"]):
    time.sleep(0.001)
sys.stdin.read()  # until the test has seen our pid
from common.process import die_with_parent
die_with_parent()
print("still here", flush=True)
"""


@pytest.mark.parametrize("parent_is_reaped", [True, False])
def test_a_child_whose_supervisor_died_before_it_could_ask_ends_too(parent_is_reaped: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", LATE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        if parent_is_reaped:
            assert parent.wait(timeout=120) == 0
        parent.stdin.close()
        assert parent.stdout.read() == b""


def wait_for_end(pidfd: int) -> None:
    """Wait for the end of a process that is not our child. Fails after 120 s."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(120_000), "the process is still there"
