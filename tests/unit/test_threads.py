"""Steps are done, each once and while its caller waits, also where the system gives no further thread."""

from __future__ import annotations

import threading

import pytest

from common.threads import Threads


def no_more(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_the_threads_that_are_there_do_what_further_ones_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    go_on = threading.Event()
    with Threads(8, "few") as threads:
        monkeypatch.setattr(threading.Thread, "start", no_more)
        first = threads.submit(go_on.wait, 60)
        others = [threads.submit(done.append, number) for number in range(20)]
        assert not done
        go_on.set()
        for one in others:
            one.result(60)
        assert first.result(60)
    assert done == list(range(20))


def test_more_of_them_come_when_the_system_gives_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3)
    with Threads(3, "some") as threads:
        with monkeypatch.context() as limited:
            limited.setattr(threading.Thread, "start", no_more)
            threads.submit(int).result(60)
        for one in [threads.submit(together.wait, 60) for _ in range(3)]:
            one.result(60)


def test_without_any_thread_there_are_none_to_submit_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", no_more)
    with pytest.raises(RuntimeError):
        Threads(8, "none")
