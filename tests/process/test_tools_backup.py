"""Export and import: what a snapshot of a busy store holds, and what becomes of it elsewhere."""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import json
import os
import random
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest

from common import checksum, durable
from services.access import file as access_file
from services.access.secret_hash import hash_token
from services.engines.local.disk import directory, layout, record
from services.engines.local.disk.locks import FileLock
from services.engines.local.disk.record import BlobRecord
from services.engines.local.recovery.reconcile import reconcile
from services.engines.local.upkeep import collector, snapshot
from services.engines.local.upkeep.collector import Collector
from tests.conftest import StartServer
from tests.disk.test_reconcile import make_original, put
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory, live_blobs
from tests.support.tools import COMMAND, environment, tool

GO_DATA = Path(__file__).resolve().parents[1] / "go-data"


def unpack(file: Path, folder: Path) -> DataDirectory:
    """The tar as a data directory, which must keep every rule."""
    folder.mkdir(mode=0o700)
    with tarfile.open(file) as tar:
        tar.extractall(folder, filter="fully_trusted")
    unpacked = DataDirectory(folder)
    unpacked.check()
    return unpacked


def url(server: Server) -> tuple[str, str]:
    return "--url", f"http://127.0.0.1:{server.port}"


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
    """Two updates and a delete, between the first list of folders and the first look into any of them."""
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
        assert found == {"a": b"2", "b": b"0"}, "of each location a value that it had then or since"


def test_an_update_that_began_before_the_snapshot_and_ends_within_it_is_met(
    server: Server, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new blob is looked at while Pending, the old one when it is Failure since before the beginning."""
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
    # As if the update's states had been written down just before the beginning, and renamed after it.
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
    monkeypatch.setattr(collector, "REMOVED_PARALLEL", 4)
    for _ in range(8):
        assert server.ask("POST", "/store/a", b"a").status == 201
        assert server.ask("DELETE", "/store/a").status == 200
    wanted = FileLock(data_dir.ours(layout.GC_WANTED_NAME), "export")
    removed = Collector._remove

    def wanted_meanwhile(self: Collector, taken_out: dict[str, BlobRecord]) -> int:
        assert wanted.try_acquire(), "the gc holds it for a moment only"
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


def test_an_interrupted_export_leaves_no_file_and_no_links(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    read, write = os.pipe()  # it fills up, since nobody reads
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
    time.sleep(0.1)  # into its write
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
    assert again.status == 1, "an incomplete backup says so when it is needed, too"
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


def test_import_through_the_server_meets_what_is_there(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    large = random.Random(2).randbytes((3 << 20) + 5)
    stored = {"same": b"same", "differs": b"old", "large": large, "new": b"new", "empty": b""}
    for location, body in stored.items():
        headers = {"Content-Type": f"text/{location}"}
        assert server.ask("POST", "/store/" + location, body, headers).status == 201
    file = tmp_path / "e.tar"
    assert tool("export", file, "--dir", data.path).status == 0
    for location in ("new", "large", "empty"):
        assert server.ask("DELETE", "/store/" + location).status == 200
    assert server.ask("PUT", "/store/differs", b"newer").status == 200
    ran = tool("import", file, "--json", *url(server), "--dir", data.path)
    assert ran.status == 1, "something differs"
    counts = {name: ran.json[name] for name in ("created", "same", "differs", "replaced")}
    assert counts == {"created": 3, "same": 1, "differs": 1, "replaced": 0}
    assert server.ask("GET", "/store/differs").body == b"newer"
    assert server.ask("GET", "/store/large").body == large
    assert server.ask("GET", "/store/new").headers["content-type"] == "text/new"
    ran = tool("import", file, "--replace", "--json", *url(server), "--dir", data.path)
    assert ran.status == 0, ran
    assert {location: server.ask("GET", "/store/" + location).body for location in stored} == stored


def test_import_without_a_server_is_as_durable_and_takes_the_lock(
    data: DataDirectory, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server()
    stored = {f"n/{number}": b"content %d" % number for number in range(100)}
    for location, body in stored.items():
        assert server.ask("POST", "/store/" + location, body).status == 201
    file = tmp_path / "e.tar"
    assert tool("export", file, "--dir", data.path).status == 0
    new = DataDirectory(tmp_path / "new")
    ran = tool("import", file, "--json", "--create", "--dir", new.path)
    assert ran.status == 0, ran
    assert ran.json["created"] == 100
    assert live_blobs(new.root) == stored
    new.check()
    again = tool("import", file, "--json", "--create", "--dir", new.path)
    assert (again.status, again.json["same"]) == (0, 100)


def test_import_into_a_server_that_asks_for_a_token(
    data: DataDirectory, tmp_path: Path, start_server: StartServer
) -> None:
    clients, token = tmp_path / "clients.toml", tmp_path / "token"
    hashed = hash_token("the-token")
    entry = access_file.entry_text(access_file.make_client("backup", "read-write", "", hashed))
    clients.write_text(access_file.HEADER + entry)
    clients.chmod(0o600)
    token.write_text("the-token\n")
    server = start_server("--auth-file", str(clients), "--max-blob-size", "2000000")
    source = DataDirectory(tmp_path / "source")
    shutil.copytree(GO_DATA, source.path)
    assert tool("export", tmp_path / "e.tar", "--dir", source.path).status == 0
    refused = tool("import", tmp_path / "e.tar", *url(server), "--dir", data.path)
    assert refused.status == 5
    assert refused.err.count("\n") == 1, "eight at once were refused; it is told once"
    assert "--token-file" in refused.err
    as_client = ("--token-file", token, *url(server), "--json", "--dir", data.path)
    assert tool("import", tmp_path / "e.tar", *as_client).json["created"] == 5
    # What one server refuses for itself is told, and the others are imported.
    large = Server(tmp_path / "large")
    assert large.ask("POST", "/store/large", bytes(3_000_000)).status == 201
    assert large.ask("POST", "/store/other", b"o").status == 201
    large.stop()
    assert tool("export", tmp_path / "l.tar", "--dir", large.root).status == 0
    ran = tool("import", tmp_path / "l.tar", *as_client)
    assert (ran.status, ran.json["created"]) == (1, 1)
    assert any("'large': not imported" in problem for problem in ran.json["problems"])


def test_a_file_that_was_cut_short_or_changed_is_told(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    for number in range(5):
        assert server.ask("POST", f"/store/{number}", b"content %d" % number).status == 201
    file = tmp_path / "e.tar"
    assert tool("export", file, "--dir", data.path).status == 0
    content = file.read_bytes()
    (tmp_path / "cut.tar").write_bytes(content[: content.index(b".exported.json") // 512 * 512 - 1024])
    cut = tool("import", tmp_path / "cut.tar", "--json", "--create", "--dir", tmp_path / "1")
    assert (cut.status, cut.json["whole"]) == (1, False)
    assert cut.json["created"] >= 3
    changed = content.replace(b"content 3", b"content 4")
    (tmp_path / "changed.tar").write_bytes(changed)
    ran = tool("import", tmp_path / "changed.tar", "--json", "--create", "--dir", tmp_path / "2")
    assert (ran.status, ran.json["created"]) == (1, 4)
    assert "fails its checksum" in json.dumps(ran.json["problems"])
    assert "3" not in live_blobs(str(tmp_path / "2"))
    (tmp_path / "no.tar").write_bytes(b"no tar at all" * 100)
    assert tool("import", tmp_path / "no.tar", "--dir", tmp_path / "3").status == 2


def test_a_directory_of_the_original_server_can_be_exported_and_imported(tmp_path: Path) -> None:
    old = DataDirectory(tmp_path / "old")
    shutil.copytree(GO_DATA, old.path)
    with tarfile.open(tmp_path / "as-it-is.tar", "w") as tar:  # made by tar, in whichever order
        tar.add(old.path, arcname=".")
    expected = {"foo": b"2" * 17, "blah": b"version 20", "empty": b"", "with space": b"s", "✓": b"c"}
    ran = tool("import", tmp_path / "as-it-is.tar", "--json", "--create", "--dir", tmp_path / "new")
    assert ran.json["created"] == 5
    found = live_blobs(str(tmp_path / "new"))
    assert found.keys() == expected.keys()
    assert (found["foo"], found["blah"]) == (b"2" * 17, b"version 20")
    assert tool("export", tmp_path / "e.tar", "--dir", old.path).status == 0
    assert live_blobs(unpack(tmp_path / "e.tar", tmp_path / "u").root) == found
    old.check()


def test_an_export_of_32_bit_ids_keeps_its_width(
    data: DataDirectory, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server("--id-bits", "32")
    assert server.ask("POST", "/store/a", b"a").status == 201
    assert tool("export", tmp_path / "e.tar", "--dir", data.path).status == 0
    unpacked = unpack(tmp_path / "e.tar", tmp_path / "u")
    assert live_blobs(unpacked.root) == {"a": b"a"}
    assert directory.existing(unpacked.root).id_bits == 32
    assert tool("import", tmp_path / "e.tar", *url(server), "--dir", data.path, "--json").json["same"] == 1


def test_of_two_in_a_tar_the_one_that_a_start_would_serve_is_imported(tmp_path: Path) -> None:
    """Whichever comes last in the file; a tie of two records of the original server is one, too."""
    source = directory.open_directory(str(tmp_path / "source"), 16, owner=True)
    put(source, 7, "numbered", b"newer", seq=9)
    put(source, 8, "numbered", b"older", seq=3)
    for blob_id, body in ((20, b"higher id"), (11, b"lower id")):
        make_original(source, put(source, blob_id, "tie", body))
    served = {"numbered": b"newer", "tie": b"higher id"}
    for number, order in enumerate(([7, 8, 20, 11], [8, 7, 11, 20])):
        file = tmp_path / f"{number}.tar"
        with tarfile.open(file, "w") as tar:
            for blob_id in order:
                tar.add(source.folder(blob_id), f"./{blob_id}")
        into = tmp_path / f"into{number}"
        ran = tool("import", file, "--create", "--replace", "--dir", into)
        assert ran.status == 1, "it has no closing note"
        assert live_blobs(str(into)) == served
    exported = tmp_path / "exported.tar"
    listed = tool("ls", "--json", "--dir", source.root).json["blobs"]
    assert {blob["location"]: blob["id"] for blob in listed} == {"numbered": 7, "tie": 20}
    assert tool("export", exported, "--dir", source.root).status == 0
    assert live_blobs(unpack(exported, tmp_path / "unpacked").root) == served
    assert {at: blob.id for at, blob in reconcile(source).live.items()} == {"numbered": 7, "tie": 20}


def test_a_tar_with_a_journal_that_was_not_replayed_is_refused(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    file = tmp_path / "f.tar"
    for clean in (False, True):
        if clean:
            server.stop()
        with tarfile.open(file, "w") as tar:
            tar.add(data.path, ".")
        into = tmp_path / f"into-{clean}"
        ran = tool("import", file, "--create", "--dir", into)
        assert ("journal that was not replayed" in ran.err) != clean
        assert into.exists() == clean, "of a tar that is refused nothing is made"


def test_a_closing_note_that_is_none_is_told(server: Server, data: DataDirectory, tmp_path: Path) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    file, other = tmp_path / "e.tar", tmp_path / "other.tar"
    assert tool("export", file, "--dir", data.path).status == 0
    with tarfile.open(file) as tar, tarfile.open(other, "w") as made:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            text = b"no JSON" if member.name == layout.EXPORTED_NAME else content.read()
            member.size = len(text)
            made.addfile(member, io.BytesIO(text))
    ran = tool("import", other, "--create", "--dir", tmp_path / "into")
    assert ran.status == 1
    assert "closing note of the file is damaged" in ran.out
    assert live_blobs(str(tmp_path / "into")) == {"a": b"a"}


def test_metadata_are_exported_and_imported_with_and_without_a_server(
    server: Server, data: DataDirectory, tmp_path: Path, start_server: StartServer
) -> None:
    said = {"Cache-Control": "no-store", "X-Meta-Owner": "Ann"}
    assert server.ask("POST", "/store/a", b"a", said).status == 201
    file = tmp_path / "e.tar"
    assert tool("export", file, "--dir", data.path).status == 0
    assert server.ask("DELETE", "/store/a").status == 200
    for offline in (False, True):
        if offline:
            assert server.ask("DELETE", "/store/a").status == 200
            server.stop()
        assert tool("import", file, *(() if offline else url(server)), "--dir", data.path).status == 0
        if offline:
            server.restart()
        found = server.ask("GET", "/store/a").headers
        assert (found["cache-control"], found["x-meta-owner"]) == ("no-store", "Ann")


def test_an_export_of_nothing_does_not_replace_one_of_something(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    file = tmp_path / "e.tar"
    assert tool("export", file, "--dir", data.path).status == 0, "nothing, for the first time"
    assert server.ask("POST", "/store/a", b"a").status == 201
    assert tool("export", file, "--force", "--dir", data.path).status == 0
    before = file.read_bytes()
    assert server.ask("DELETE", "/store/a").status == 200
    ran = tool("export", file, "--force", "--dir", data.path)
    assert (ran.status, file.read_bytes()) == (1, before)
    assert tool("export", file, "--force", "--even-empty", "--dir", data.path).status == 0
    assert file.read_bytes() != before


def test_an_export_of_nothing_is_an_error_where_the_one_before_had_some(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    """Under another name, on stdout, or of a new store on the wrong disk beside the old one's backup."""
    backups = tmp_path / "backups"
    backups.mkdir()
    assert server.ask("POST", "/store/a", b"a").status == 201
    assert tool("export", backups / "1.tar", "--dir", data.path).status == 0
    assert server.ask("DELETE", "/store/a").status == 200
    ran = tool("export", tmp_path / "2.tar", "--dir", data.path)
    assert (ran.status, "had 1" in ran.err) == (1, True)
    to_stdout = [*COMMAND, "export", "-", "--dir", str(data.path)]
    done = subprocess.run(to_stdout, env=environment(), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    other = DataDirectory(tmp_path / "other")
    directory.open_directory(other.root, 16, owner=True)
    ran = tool("export", backups / "2.tar", "--dir", other.path)
    assert (ran.status, str(backups / "1.tar") in ran.err) == (1, True)
    assert sorted(path.name for path in backups.iterdir()) == ["1.tar"]
    assert tool("export", tmp_path / "first.tar", "--dir", other.path).status == 0
    assert tool("export", tmp_path / "2.tar", "--even-empty", "--dir", data.path).status == 0
    assert tool("export", tmp_path / "3.tar", "--dir", data.path).status == 0, "the one before had none"


def test_one_blob_is_found_and_imported_by_name(server: Server, data: DataDirectory, tmp_path: Path) -> None:
    for location in ("photos/cat", "photos/dog", "photography", "notes"):
        assert server.ask("POST", "/store/" + location, location.encode()).status == 201
    file = tmp_path / "e.tar"
    assert tool("export", file, "--dir", data.path).status == 0
    assert tool("ls", "--tar", file).out.split() == ["notes", "photography", "photos/cat", "photos/dog"]
    assert tool("ls", "--tar", file, "photos/").out.split() == ["photos/cat", "photos/dog"]
    listed = tool("ls", "--tar", file, "notes", "--json").json["blobs"]
    assert [(blob["location"], blob["size"]) for blob in listed] == [("notes", 5)]
    assert tool("ls", "-l", "--tar", file, "notes").out.split()[-1] == "notes"
    for location in ("photos/cat", "photos/dog", "photography", "notes"):
        assert server.ask("DELETE", "/store/" + location).status == 200
    into = (*url(server), "--dir", data.path)
    assert tool("import", file, "--only", "notes", *into).status == 0
    assert tool("import", file, "--only", "photos/", "--json", *into).json["created"] == 2
    server.stop()
    found = live_blobs(data.root)
    assert found == {name: name.encode() for name in ("notes", "photos/cat", "photos/dog")}
    ran = tool("import", file, "--only", "photos", "--dir", data.path)
    assert (ran.status, "no blob 'photos'" in ran.err) == (3, True)
    ran = tool("import", file, "--only", "notes", "--only", "none", "--dir", data.path)
    assert (ran.status, "no blob 'none'" in ran.out) == (1, True)
    assert tool("ls", "--tar", tmp_path / "none.tar").status == 3


def test_the_records_of_front_ends_are_in_a_backup(
    start_server: StartServer, data: DataDirectory, tmp_path: Path
) -> None:
    """A bucket of S3 is a blob whose location begins with NUL: no client of the native API can write it."""
    source = DataDirectory(tmp_path / "source")
    data_dir = directory.open_directory(source.root, 16, owner=True)
    record_of_bucket = record.whole(
        *(5, "\0s3/bucket/photos", 7, "created", time.time_ns(), "application/json", "", 2),
        *(hashlib.sha256(b"{}").digest(), checksum.pack_crcs([checksum.crc(b"{}")])),
    )
    durable.make_folder(data_dir.folder(5))
    durable.write_file(data_dir.data(5), b"{}", synced=False)
    durable.write_file(data_dir.state(5), record.dump(record_of_bucket), synced=False)
    file = tmp_path / "e.tar"
    assert tool("export", file, "--dir", source.path).status == 0
    assert tool("import", file, "--create", "--dir", data.path).status == 0
    assert live_blobs(data.root) == {"\0s3/bucket/photos": b"{}"}


def test_an_export_does_not_write_into_a_file_that_somebody_made_before(
    server: Server, data: DataDirectory, tmp_path: Path
) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    planted = tmp_path / "e.tar.part"
    planted.write_bytes(b"another's")
    with planted.open("rb") as theirs:
        assert tool("export", tmp_path / "e.tar", "--dir", data.path).status == 0
        assert theirs.read() == b"another's"
    assert sorted(path.name for path in tmp_path.iterdir() if "e.tar" in path.name) == ["e.tar", "e.tar.part"]


NO_DIRECTORY = [
    ("ls",),
    ("show", "a"),
    ("du",),
    ("check",),
    ("check", "--dry-run"),
    ("export", "{tmp}/made.tar"),
    ("import", "{tmp}/some.tar"),
    ("quarantine", "list"),
    ("quarantine", "drop", "1-1", "--yes"),
]


@pytest.mark.parametrize("folder", ["missing", "empty", "foreign"])
@pytest.mark.parametrize("command", NO_DIRECTORY, ids=" ".join)
def test_a_folder_that_is_no_data_directory_is_refused_and_left_alone(
    command: tuple[str, ...], folder: str, tmp_path: Path
) -> None:
    """An empty one is what a disk that is not mounted leaves."""
    with tarfile.open(tmp_path / "some.tar", "w"):
        pass
    where = tmp_path / folder
    if folder != "missing":
        where.mkdir()
    if folder == "foreign":
        (where / "photo.jpg").write_bytes(b"jpg")
    before = sorted(path.name for path in where.iterdir()) if where.exists() else None
    ran = tool(*(part.format(tmp=tmp_path) for part in command), "--dir", where)
    assert ran.status == 2, ran
    assert f"{where} is no Blobkeep directory" in ran.err
    assert (sorted(path.name for path in where.iterdir()) if where.exists() else None) == before
    assert not (tmp_path / "made.tar").exists()
