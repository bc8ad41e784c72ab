"""Exports: what is in one, also while clients write, the gc runs, or the export is killed."""

from __future__ import annotations

import errno
import fcntl
import http.client
import os
import random
import signal
import subprocess
import sys
import tarfile
import termios
import threading
import time
from pathlib import Path

import pytest

from common import durable
from services.engines.local.disk import directory, layout
from services.engines.local.disk.locks import FileLock
from services.engines.local.disk.record import BlobRecord
from services.engines.local.upkeep import collector, snapshot
from services.engines.local.upkeep.collector import Collector
from tests.support.backups import unpack
from tests.support.environment import environment
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory, live_blobs
from tests.support.tools import COMMAND, tool


def test_an_export_unpacked_is_a_data_directory_with_ids_and_histories(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    large = random.Random(1).randbytes((2 << 20) + 17)
    stored = {"a": b"a", "deep/er": b"", "large": large, "✓": b"check"}
    for location, body in stored.items():
        assert server.ask("POST", "/store/" + location.replace("✓", "%E2%9C%93"), body).status == 201
    assert server.ask("POST", "/store/gone", b"g").status == 201
    assert server.ask("DELETE", "/store/gone").status == 200
    file = tmp_path / "e.tar"
    ran = tool("export", file, "--json", "--dir", data.path)
    assert ran.status == 0, ran
    assert (ran.json["blobs"], ran.json["linked"], ran.json["left_out"]) == (4, True, [])
    assert file.stat().st_mode & 0o777 == 0o600
    unpacked = unpack(file, tmp_path / "unpacked")
    assert live_blobs(unpacked.root) == stored
    before = tool("show", "large", "--json", "--dir", data.path).json["blobs"][0]
    after = tool("show", "large", "--json", "--dir", unpacked.path).json["blobs"][0]
    assert {k: v for k, v in before.items() if k != "folder"} == {
        k: v for k, v in after.items() if k != "folder"
    }
    assert list((data.path / ".export").iterdir()) == [], "the links are gone"


def test_an_export_is_consistent_while_clients_write_and_the_gc_removes(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    stable = {f"stable/{n}": b"s%d" % n for n in range(60)}
    hot = [f"hot/{n}" for n in range(4)]
    for location, body in stable.items():
        assert server.ask("POST", "/store/" + location, body).status == 201
    for location in hot:
        assert server.ask("POST", "/store/" + location, b"0").status == 201
    gc = Process("gc", data.path, "--gc-interval", "0.05")
    acknowledged = dict.fromkeys(hot, 0)
    deleted: set[str] = set()
    stop = threading.Event()
    failures: list[str] = []

    def update(location: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            if server.ask("PUT", "/store/" + location, b"%d" % number).status != 200:
                failures.append(location)
            acknowledged[location] = number

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            server.ask("POST", f"/store/short/{number}", b"short")
            server.ask("DELETE", f"/store/short/{number}")
            deleted.add(f"short/{number}")

    threads = [threading.Thread(target=update, args=(location,)) for location in hot]
    threads.append(threading.Thread(target=churn))
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(deleted) > 5, what="churn")
        for round_number in range(2):
            least, gone = dict(acknowledged), set(deleted)
            file = tmp_path / f"{round_number}.tar"
            ran = tool("export", file, "--json", "--dir", data.path)
            assert ran.status == 0, ran
            found = live_blobs(unpack(file, tmp_path / str(round_number)).root)
            assert {k: v for k, v in found.items() if k.startswith("stable/")} == stable
            for location in hot:
                assert location in found, f"{location} was there all the time"
                assert int(found[location]) >= least[location], "no value older than what was acknowledged"
            assert not gone & set(found), "what was deleted before is not in it"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        gc.end()
    assert not failures


def test_a_snapshot_keeps_what_is_replaced_deleted_and_collected_after_it(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    for location in ("kept", "updated", "deleted"):
        assert server.ask("POST", "/store/" + location, b"old " + location.encode()).status == 201
    with snapshot.take(directory.existing(data.root)) as taken:
        assert server.ask("PUT", "/store/updated", b"new").status == 200
        assert server.ask("DELETE", "/store/deleted").status == 200
        Process("gc", data.path, "--once").popen.wait(120)
        found = {held.location: Path(taken.data_path(held.id)).read_bytes() for held in taken.blobs}
        assert all(taken.record_of(held).location == held.location for held in taken.blobs)
    assert found == {"kept": b"old kept", "updated": b"old updated", "deleted": b"old deleted"}


def test_without_hard_links_the_gc_waits_until_the_tar_is_written(
    server: Server, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for location in ("kept", "updated", "deleted"):
        assert server.ask("POST", "/store/" + location, b"old " + location.encode()).status == 201

    def no_links(old: str, new: str) -> None:
        raise OSError(errno.EPERM, "this file system has none")

    monkeypatch.setattr(durable, "link", no_links)
    data_dir = directory.existing(data.root)
    gc = Collector(data_dir, 5.0)
    with snapshot.take(data_dir) as taken:
        assert not taken.linked
        assert server.ask("PUT", "/store/updated", b"new").status == 200
        assert server.ask("DELETE", "/store/deleted").status == 200
        gc.run_once()
        assert gc.total_removed == 0
        found = {held.location: Path(taken.data_path(held.id)).read_bytes() for held in taken.blobs}
        complete = {held.location: taken.record_of(held).sha256 for held in taken.blobs}
    assert found == {"kept": b"old kept", "updated": b"old updated", "deleted": b"old deleted"}
    assert all(complete.values())
    gc.run_once()
    assert gc.total_removed == 2
    gc.close()


def test_what_is_replaced_while_the_snapshot_is_taken_is_in_it(
    server: Server, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two updates and a delete come between the first list of folders and the first look into one."""
    assert server.ask("POST", "/store/a", b"0").status == 201
    assert server.ask("POST", "/store/b", b"0").status == 201
    listed = directory.ids_in

    def list_then_write(data_dir: layout.Layout) -> list[int]:
        ids = listed(data_dir)
        monkeypatch.setattr(directory, "ids_in", listed)
        assert server.ask("PUT", "/store/a", b"1").status == 200
        assert server.ask("PUT", "/store/a", b"2").status == 200
        assert server.ask("DELETE", "/store/b").status == 200
        return ids

    monkeypatch.setattr(directory, "ids_in", list_then_write)
    with snapshot.take(directory.existing(data.root)) as taken:
        found = {held.location: Path(taken.data_path(held.id)).read_bytes() for held in taken.blobs}
        assert found == {"a": b"2", "b": b"0"}, "each location has a value that it had then or later"


def test_an_update_that_began_before_the_snapshot_and_ends_within_it_is_met(
    server: Server, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export sees the new blob while it is Pending, and the old one in Failure, with a time before
    the export began.
    """
    assert server.ask("POST", "/store/a", b"old").status == 201
    (old,) = directory.ids_in(directory.existing(data.root))
    upload = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    upload.putrequest("PUT", "/store/a")
    upload.putheader("Content-Length", "6")
    upload.endheaders(b"new")
    wait_for(lambda: len(directory.ids_in(directory.existing(data.root))) == 2, what="Pending on disk")
    (new,) = set(directory.ids_in(directory.existing(data.root))) - {old}
    wait_for((data.path / str(new) / layout.DATA_NAME).exists, what="Pending on disk")
    monkeypatch.setattr(directory, "ids_in", lambda data_dir: [new, old])
    # As if the update's states had been written just before the export began, and renamed after that.
    late = time.time_ns() + 60_000_000_000
    monkeypatch.setattr("services.engines.local.upkeep.snapshot.time.time_ns", lambda: late)
    looked = snapshot._Taking._look_at
    seen: list[int] = []

    def look(taking: snapshot._Taking, blob_id: int, began_at: str) -> None:
        if blob_id == old and old not in seen:
            upload.send(b"est")
            assert upload.getresponse().status == 200
        seen.append(blob_id)
        looked(taking, blob_id, began_at)

    monkeypatch.setattr(snapshot._Taking, "_look_at", look)
    with snapshot.take(directory.existing(data.root)) as taken:
        found = {held.location: Path(taken.data_path(held.id)).read_bytes() for held in taken.blobs}
    upload.close()
    assert seen == [new, old, new]
    assert found == {"a": b"newest"}


def test_the_gc_yields_while_a_snapshot_is_taken_and_the_lock_is_freed_by_death(
    server: Server, data: DataDirectory
) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    assert server.ask("DELETE", "/store/a").status == 200
    data_dir = directory.existing(data.root)
    gc = Collector(data_dir, 5.0)
    hold = FileLock(data_dir.ours(layout.GC_HOLD_NAME), "export")
    with hold:
        hold.acquire(0.0)
        assert gc.run_once() is None
        assert gc.total_removed == 0
    assert gc.run_once() is not None
    assert gc.total_removed == 1
    gc.close()


def test_a_gc_whose_passes_follow_each_other_at_once_lets_an_export_begin(
    server: Server, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = directory.existing(data.root)
    gc = Collector(data_dir, 5.0)
    monkeypatch.setattr(collector, "REMOVED_AT_ONCE", 4)
    for _ in range(8):
        assert server.ask("POST", "/store/a", b"a").status == 201
        assert server.ask("DELETE", "/store/a").status == 200
    wanted = FileLock(data_dir.ours(layout.GC_WANTED_NAME), "export")
    removed = Collector._remove

    def wanted_meanwhile(self: Collector, taken_out: dict[str, BlobRecord]) -> int:
        assert wanted.try_acquire(), "the gc holds it only for a moment"
        return removed(self, taken_out)

    monkeypatch.setattr(Collector, "_remove", wanted_meanwhile)
    with wanted:
        assert gc.run_once() is not None, "a long pass gives way"
        assert gc.total_removed == 4
        assert gc.run_once() is None, "no pass begins while an export waits"
    assert gc.run_once() is not None
    assert gc.total_removed == 8, "what was left is done in the next pass"
    wanted.release()
    gc.close()


def test_what_a_killed_export_left_is_removed_by_the_next(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    assert server.ask("POST", "/store/a", b"a" * (1 << 20)).status == 201
    read, write = os.pipe()  # nobody reads: the export waits in its tar, with its links made
    slow = subprocess.Popen(
        [*COMMAND, "export", "-", "--dir", str(data.path)], env=environment(), stdout=write
    )
    links = data.path / ".export"
    wait_for(lambda: links.is_dir() and any(links.glob("*/*.data")), what="the links")
    assert tool("export", tmp_path / "other.tar", "--dir", data.path).status == 0
    assert len(list(links.iterdir())) == 1, "those of one that lives are left alone"
    slow.kill()
    slow.wait()
    os.close(read)
    os.close(write)
    assert tool("export", tmp_path / "next.tar", "--dir", data.path).status == 0
    assert list(links.iterdir()) == []


def _in_pipe(fd: int) -> int:
    """How many bytes wait there for a reader."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_an_interrupted_export_leaves_no_file_and_no_links(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    read, write = os.pipe()  # the pipe fills up, since nobody reads
    os.set_blocking(read, False)
    assert server.ask("POST", "/store/large", bytes(4 << 20)).status == 201
    export = subprocess.Popen(
        [*COMMAND, "export", "-", "--dir", str(data.path)],
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    links = data.path / ".export"
    wait_for(lambda: links.is_dir() and any(links.glob("*/*.data")), what="the links")
    wait_for(lambda: _in_pipe(read) >= fcntl.fcntl(read, fcntl.F_GETPIPE_SZ) // 2, what="a full pipe")
    export.send_signal(signal.SIGTERM)
    _, said = export.communicate(timeout=120)
    os.close(read)
    assert export.returncode == 130
    assert "Interrupted" in said
    assert list(links.iterdir()) == []


def test_a_damaged_blob_is_left_out_and_named(server: Server, data: DataDirectory, tmp_path: Path) -> None:
    assert server.ask("POST", "/store/good", b"good").status == 201
    assert server.ask("POST", "/store/bad", b"bad").status == 201
    data.rotten = True
    (path,) = [p for p in data.path.glob("*/data.raw") if p.read_bytes() == b"bad"]
    path.write_bytes(b"bae")
    ran = tool("export", tmp_path / "e.tar", "--json", "--dir", data.path)
    assert ran.status == 1
    assert ran.json["blobs"] == 1
    assert "of 'bad': data.raw fails its checksum in MiB 0" in ran.json["left_out"][0]
    assert live_blobs(unpack(tmp_path / "e.tar", tmp_path / "u").root) == {"good": b"good"}
    again = tool("import", tmp_path / "e.tar", "--create", "--dir", tmp_path / "new")
    assert again.status == 1, "an incomplete backup also says so when it is read"
    assert "was left out of the export" in again.out


def test_an_existing_file_is_not_replaced_unasked(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    file = tmp_path / "e.tar"
    file.write_bytes(b"precious")
    assert tool("export", file, "--dir", data.path).status == 2
    assert file.read_bytes() == b"precious"
    assert tool("export", file, "--force", "--dir", data.path).status == 0
    assert tarfile.is_tarfile(file)
