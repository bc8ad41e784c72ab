"""The probe behind /healthz, on disks that fail in several ways, or hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from common import durable
from common.errors import SyncFailed
from services.engine import Check
from services.engines.local.disk.layout import Layout
from services.engines.local.serving import probe
from services.engines.local.serving.probe import DiskProbe


def checked(root: Path) -> Check:
    async def run() -> Check:
        return await DiskProbe(Layout(str(root), 16)).check()

    return asyncio.run(run())


def test_a_disk_that_writes_syncs_and_reads_is_well(tmp_path: Path) -> None:
    check = checked(tmp_path)
    assert check.ok
    assert check.vital
    assert check.age_s is not None
    assert "written, synced and read back" in check.text


def _other_bytes(path: str, payload: bytes, *, synced: bool) -> None:
    Path(path).write_bytes(payload[:-1])


def _no_sync(path: str, payload: bytes, *, synced: bool) -> None:
    raise SyncFailed("The disk failed.")


def _broken(path: str, payload: bytes, *, synced: bool) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("fault", "text"),
    [(_other_bytes, "other bytes"), (_no_sync, "failed to keep"), (_broken, "probe failed")],
)
def test_each_fault_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., None], text: str
) -> None:
    monkeypatch.setattr(durable, "replace", fault)
    check = checked(tmp_path)
    assert not check.ok
    assert text in check.text


def test_a_disk_that_hangs_does_not_hang_who_asks_and_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, calls = threading.Event(), []

    def hang(path: str, payload: bytes, *, synced: bool) -> None:
        calls.append(path)
        assert let_go.wait(120)
        Path(path).write_bytes(payload)

    monkeypatch.setattr(durable, "replace", hang)
    monkeypatch.setattr(probe, "PATIENCE_S", 0.05)

    async def run() -> None:
        asked = DiskProbe(Layout(str(tmp_path), 16))
        for _ in range(3):
            check = await asked.check()
            assert not check.ok
            assert check.age_s is None
            assert "has not answered" in check.text
        assert len(calls) == 1
        let_go.set()
        monkeypatch.setattr(probe, "PATIENCE_S", 30.0)
        assert (await asked.check()).ok

    asyncio.run(run())


def test_many_who_ask_share_one_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    replace = durable.replace

    def counted(path: str, payload: bytes, *, synced: bool) -> None:
        calls.append(path)
        replace(path, payload, synced=synced)

    monkeypatch.setattr(durable, "replace", counted)

    async def run() -> None:
        asked = DiskProbe(Layout(str(tmp_path), 16))
        assert all(check.ok for check in await asyncio.gather(*(asked.check() for _ in range(50))))

    asyncio.run(run())
    assert len(calls) == 1
