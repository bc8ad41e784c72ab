"""Imports of exports: through a server, without one, by name, and of files that are no backup."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from common import checksum, durable
from services.access import file as access_file
from services.access.secret_hash import hash_token
from services.engines.local.disk import directory, layout, record
from services.engines.local.recovery.reconcile import reconcile
from services.rules.dates import format_http_date
from tests.conftest import StartServer
from tests.disk.test_reconcile import make_original, put
from tests.support.backups import GO_DATA, unpack, url
from tests.support.environment import environment
from tests.support.processes import Server
from tests.support.rules import DataDirectory, live_blobs
from tests.support.tools import COMMAND, tool


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
    assert refused.err.count("\n") == 1, "eight at once were refused, which is reported once"
    assert "--token-file" in refused.err
    as_client = ("--token-file", token, *url(server), "--json", "--dir", data.path)
    assert tool("import", tmp_path / "e.tar", *as_client).json["created"] == 5
    # What the server refuses is reported, and the other blobs are imported.
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
    with tarfile.open(tmp_path / "as-it-is.tar", "w") as tar:  # made by tar, in any order
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
    """Independent of which comes last in the file. Two records of the original server with equal times
    are a case of it.
    """
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
        assert into.exists() == clean, "nothing is made from a tar that is refused"


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
    expires = format_http_date(int(time.time()) + 86400)
    said = {"Cache-Control": "no-store", "X-Meta-Owner": "Ann", "Blob-Expires": expires}
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
        assert {name: found[name.lower()] for name in said} == said


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
    """An export under another name, to stdout, or of a new store on the wrong disk, which would replace
    the backup of the old one.
    """
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
    """A disk that is not mounted leaves an empty folder."""
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
