"""Blobs by id, in every state: over HTTP they show the same as the state file on disk."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.states import MSG_CREATED, MSG_WRITING, State
from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import created
from tests.conftest import StartServer
from tests.http.pages import page, pages
from tests.support.processes import Server, wait_for
from tests.support.raw import RawConnection
from tests.support.rules import DataDirectory

COUNT = 300


def test_blobs_by_id_come_in_pages(strict: Server, location: str) -> None:
    names = [f"{location}/{number:03}" for number in range(COUNT)]
    for name in names:
        assert strict.ask("POST", f"/store/{name}", b"").status == 201
    found = [blob for p in pages(strict, "/blobs/", limit=99, state="OK") for blob in p["blobs"]]
    assert [blob["id"] for blob in found] == sorted({blob["id"] for blob in found})
    assert sorted(blob["location"] for blob in found if blob["location"] in names) == names
    assert {blob["state"] for blob in found} == {"OK"}


@pytest.mark.parametrize(
    "query", ["state=Ok", "after=x", "after=-1", "after=", "after=11111111111", "limit=0", "prefix=a"]
)
def test_a_bad_parameter_by_id_is_400(query: str, strict: Server) -> None:
    assert strict.ask("GET", f"/blobs/?{query}").status == 400


@pytest.mark.parametrize("text", ["65536", "99999999999999999999", "01", "-1", "1.0", "x", "..", "%31", "1/"])
def test_no_blob_has_such_an_id(text: str, strict: Server) -> None:
    assert strict.ask("GET", f"/blobs/{text}").status == 404


def test_a_blob_in_every_state_has_its_history(server: Server, data: DataDirectory) -> None:
    server.ask("POST", "/store/a", b"first", {"Content-Type": "text/plain", "Content-Encoding": "gzip"})
    first = server.ask("HEAD", "/store/a").headers["blob-id"]
    server.ask("PUT", "/store/a", b"second")
    second = server.ask("HEAD", "/store/a").headers["blob-id"]
    upload = RawConnection(server.port)
    upload.request("POST", "/store/b", {"Content-Length": "200000"})
    upload.send(b"x" * 100_000)

    def pending() -> Any:
        return page(server, "/blobs/", state="Pending")["blobs"]

    (coming,) = wait_for(pending, what="the upload's being staged")
    assert (coming["location"], coming["size"], coming["etag"]) == ("b", None, None)
    by_id = {blob["id"]: blob["state"] for blob in page(server, "/blobs/")["blobs"]}
    assert by_id == {int(first): "Failure", int(second): "OK", coming["id"]: "Pending"}
    old = json.loads(server.ask("GET", f"/blobs/{first}").body)
    assert (old["state"], old["location"], old["size"]) == ("Failure", "a", None)
    assert (old["type"], old["encoding"]) == ("text/plain", "gzip")
    assert [(e["state"], e["message"]) for e in old["history"]] == [
        ("Failure", f"Deleted! Replaced by blob {second}"),
        ("OK", "Blob Data WR Complete!"),
        ("Pending", "Starting Data WR"),
        ("OK", "Blob Created & Saved!"),
    ]
    live = json.loads(server.ask("GET", f"/blobs/{second}").body)
    assert (live["state"], live["size"], live["history"][-1]["message"]) == ("OK", 6, "Blob Updated & Saved!")
    assert live["sequence"] > old["sequence"]
    half = json.loads(server.ask("GET", f"/blobs/{coming['id']}").body)
    assert half["history"][0]["state"] == "Pending"
    upload.close()

    def failures() -> list[object]:
        found: list[object] = page(server, "/blobs/", state="Failure")["blobs"]
        return found if len(found) == 2 else []

    wait_for(failures, what="the cut upload's being Failure")
    assert page(server, "/blobs/", state="Pending")["blobs"] == []


def test_ids_of_32_bits_are_listed_across_their_folders(
    start_server: StartServer, data: DataDirectory
) -> None:
    server = start_server("--id-bits", "32")
    server.stop()
    data_dir = Layout(data.root, 32)
    ids = [5, 65_535, 65_536, 3 * 65_536 + 9, 3 * 65_536 + 10]
    for blob_id in ids:
        made = created(blob_id, f"at/{blob_id}", blob_id + 1, MSG_CREATED, 1, "text/plain", "")
        assert blob_folder.take(data_dir, blob_id)
        pending = made.advanced(State.PENDING, MSG_WRITING, 2)
        blob_folder.write_record(data_dir, pending)
    server.restart()  # recovery puts them into Failure
    for after, limit in ((-1, 2), (5, 3), (65_535, 9), (3 * 65_536 + 9, 1), (3 * 65_536 + 10, 1)):
        query = {"limit": limit} | ({"after": after} if after >= 0 else {})
        found = page(server, "/blobs/", **query)["blobs"]
        expected = [blob_id for blob_id in ids if blob_id > after][:limit]
        assert [blob["id"] for blob in found] == expected
