"""With -D every transition of every blob is logged as a line. Without it, none is."""

from __future__ import annotations

import json
import re

from tests.conftest import StartServer
from tests.support.processes import Process, Server
from tests.support.rules import DataDirectory

TRANSITION = re.compile(r"DEBUG server: blob (\d+) of '([^']+)': (OK|Pending|Failure) - (.*)")


def transitions(said: str) -> list[tuple[str, str, str]]:
    return [
        (match[2], match[3], re.sub(r", after \d+\.\d{6} s$", "", match[4]))
        for match in map(TRANSITION.search, said.splitlines())
        if match
    ]


def live(location: str, first: str) -> list[tuple[str, str, str]]:
    messages = [("OK", first), ("Pending", "Starting Data WR"), ("OK", "Blob Data WR Complete!")]
    return [(location, *message) for message in messages]


def write(server: Server) -> None:
    assert server.ask("POST", "/store/foo", b"1").status == 201
    assert server.ask("PUT", "/store/foo", b"2").status == 200
    assert server.ask("DELETE", "/store/foo").status == 200
    assert server.ask("POST", "/store/large", bytes(300_000)).status == 201  # staged: Pending on disk


def test_with_debug_every_transition_is_a_line(start_server: StartServer, data: DataDirectory) -> None:
    server = start_server("-D")
    write(server)
    assert server.stop() == 0  # a thread writes the log, so it is complete only at the end
    deleted = ("foo", "Failure", "Deleted!")
    found = transitions(server.said())
    assert found[:3] == live("foo", "Blob Created & Saved!")
    _, second = re.findall(r"blob (\d+) of 'foo': OK - Blob (?:Created|Updated)", server.said())
    replaced = ("foo", "Failure", f"Deleted! Replaced by blob {second}")
    assert sorted(found[3:7]) == sorted([replaced, *live("foo", "Blob Updated & Saved!")])
    assert found[7:] == [deleted, *live("large", "Blob Created & Saved!")]
    gc = Process("gc", data.path, "-D", "--once")
    assert gc.popen.wait(120) == 0
    assert len(re.findall(r"DEBUG gc: blob \d+ of 'foo': removed, \d+ bytes freed", gc.said())) == 2


def test_without_debug_there_is_none(start_server: StartServer) -> None:
    server = start_server()
    write(server)
    assert server.stop() == 0
    assert transitions(server.said()) == []
    assert "DEBUG" not in server.said()


def test_in_json_a_transition_says_which_blob_and_how_long(start_server: StartServer) -> None:
    server = start_server("-D", "--log-format", "json")
    write(server)
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.said().splitlines()]
    assert all({"time", "level", "process", "message"} <= line.keys() for line in lines)
    of_foo = [line for line in lines if line.get("location") == "foo"]
    assert len(of_foo) == 8
    assert all(isinstance(line["blob"], int) for line in of_foo)
    deleted = [line for line in of_foo if "Deleted!" in line["message"]]
    assert len(deleted) == 2
    assert all(line["seconds"] > 0 for line in deleted)
