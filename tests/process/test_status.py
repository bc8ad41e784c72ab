"""/healthz and /metrics of a real server, with a real gc and recovery worker."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartServer
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory


@pytest.fixture
def gc(server: Server, data: DataDirectory) -> Iterator[Process]:
    process = Process("gc", data.root, "--gc-interval", "0.05")
    yield process
    process.end()


def verbose(server: Server) -> dict[str, Any]:
    return json.loads(server.ask("GET", "/healthz?verbose=1").body)  # type: ignore[no-any-return]


def process(server: Server, name: str) -> dict[str, Any]:
    return next(one for one in verbose(server)["processes"] if one["name"] == name)


def metrics(server: Server) -> dict[tuple[str, ...], float]:
    """Values by name and label values."""
    answer = server.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def test_healthz_is_ok_for_get_and_head(server: Server) -> None:
    answer = server.ask("GET", "/healthz")
    assert (answer.status, json.loads(answer.body)) == (200, "Ok!")
    assert answer.headers["cache-control"] == "no-store"
    head = server.ask("HEAD", "/healthz")
    assert (head.status, head.body) == (200, b"")


def test_verbose_names_each_process_and_each_check_with_its_age(server: Server, gc: Process) -> None:
    wait_for(lambda: process(server, "gc")["totals"], what="the gc's report")
    now = verbose(server)
    assert now["ready"] is True
    by_name = {one["name"]: one for one in now["processes"]}
    assert by_name["server"]["pid"] == server.pid
    assert by_name["gc"]["pid"] == gc.pid
    assert by_name["recovery"]["state"] == "never"
    assert by_name["server"]["memory_bytes"] > 1 << 20
    assert by_name["gc"]["uptime_s"] >= 0
    checks = {one["name"]: one for one in now["checks"]}
    assert checks.keys() == {"write", "room", "ids", "gc", "recovery", "damage", "unread"}
    assert 0 <= checks["write"]["age_s"] < 10
    assert checks["gc"]["ok"] is True
    assert checks["recovery"]["ok"] is False
    assert now["disk"]["free_bytes"] > 0


def test_a_process_that_is_down_or_suspended_is_seen_within_2_seconds(server: Server, gc: Process) -> None:
    wait_for(lambda: process(server, "gc")["state"] == "up", what="the gc's start")
    gc.popen.send_signal(signal.SIGSTOP)
    wait_for(lambda: process(server, "gc")["state"] == "stalled", 2.0, "seeing that the gc is suspended")
    gc.popen.send_signal(signal.SIGCONT)
    wait_for(lambda: process(server, "gc")["state"] == "up", 2.0, "seeing that the gc goes on")
    gc.kill()
    wait_for(lambda: process(server, "gc")["state"] == "down", 2.0, "seeing that the gc is dead")
    assert server.ask("GET", "/healthz").status == 200  # blobs can still be written and read
    assert process(server, "gc")["crashes"] == 1
    gc.restart()
    wait_for(lambda: process(server, "gc")["state"] == "up", what="the gc's second life")
    assert (process(server, "gc")["crashes"], process(server, "gc")["starts"]) == (1, 2)
    assert gc.stop() == 0
    wait_for(lambda: process(server, "gc")["state"] == "stopped", 2.0, "seeing that the gc was stopped")
    assert process(server, "gc")["crashes"] == 1


def test_a_disk_that_refuses_writes_is_503_and_why(server: Server, data: DataDirectory) -> None:
    status = data.path / ".status"
    status.rename(data.path.parent / "moved")  # in one step, since the server writes into it now and then
    status.write_bytes(b"")  # no folder: nothing can be written into it
    answer = wait_for(
        lambda: a if (a := server.ask("GET", "/healthz")).status == 503 else None, what="the 503"
    )
    assert answer is not None
    assert "ENOTDIR" in json.loads(answer.body)["text"]
    assert server.ask("HEAD", "/healthz").status == 503
    assert verbose(server)["ready"] is False
    status.unlink()
    wait_for(lambda: server.ask("GET", "/healthz").status == 200, what="the cure")


def test_a_full_disk_is_503(start_server: StartServer) -> None:
    server = start_server("--min-free-space", "1000000 TB")
    answer = server.ask("GET", "/healthz")
    assert answer.status == 503
    assert "no room" in json.loads(answer.body)["text"]


def test_metrics_count_what_was_asked(server: Server, gc: Process) -> None:
    assert server.ask("POST", "/store/a", b"12345").status == 201
    assert server.ask("POST", "/store/b", b"123").status == 201
    assert server.ask("GET", "/store/a").status == 200
    assert server.ask("GET", "/store/none").status == 404
    assert server.ask("DELETE", "/store/b").status == 200
    wait_for(lambda: metrics(server)["blobkeep_gc_removed_blobs_total",] == 1, what="the gc's pass")
    wait_for(lambda: metrics(server)["blobkeep_blobs", "Failure"] == 0, what="hearing of it")
    found = metrics(server)
    assert found["blobkeep_requests_total", "POST", "201"] == 2
    assert found["blobkeep_requests_total", "GET", "404"] == 1
    assert found["blobkeep_request_duration_seconds_count", "POST"] == 2
    assert found["blobkeep_request_duration_seconds_bucket", "+Inf", "POST"] == 2
    assert 0 < found["blobkeep_request_duration_seconds_sum", "POST"] < 60
    assert found["blobkeep_request_body_bytes_total", "POST"] == 8
    assert found["blobkeep_response_body_bytes_total", "GET"] >= 5
    assert found["blobkeep_blobs", "OK"] == 1
    assert found["blobkeep_blob_bytes", "OK"] == 5
    assert found["blobkeep_ids_left",] == 65535
    assert found["blobkeep_commit_changes_sum",] == 3
    assert found["blobkeep_commit_sync_seconds_sum",] > 0
    assert found["blobkeep_transitions_total", "Failure"] == 1
    assert found["blobkeep_process_up", "gc"] == 1
    assert found["blobkeep_process_resident_memory_bytes", "server"] > 1 << 20
    assert found["blobkeep_gc_freed_bytes_total",] > 3
    assert found["blobkeep_ready",] == 1


def test_pending_uploads_are_counted_while_they_last(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /store/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1234")
        wait_for(lambda: metrics(server)["blobkeep_blobs", "Pending"] == 1, what="the upload on disk")
        found = metrics(server)
        assert (found["blobkeep_uploads",], found["blobkeep_blob_bytes", "Pending"]) == (1, 4)
    wait_for(lambda: metrics(server)["blobkeep_uploads",] == 0, what="the end of the upload")
    wait_for(lambda: metrics(server)["blobkeep_blobs", "Failure"] == 1, what="the Failure")


def test_refusals_of_the_connection_are_counted(start_server: StartServer) -> None:
    server = start_server("--http", "blobkeep")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert b" 400 " in client.recv(1000)
    assert metrics(server)["blobkeep_connection_refusals_total", "400"] == 1


def test_recovery_says_what_it_did(server: Server) -> None:
    assert server.ask("POST", "/store/a", b"12345").status == 201
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /store/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1234")
        wait_for(lambda: metrics(server)["blobkeep_blobs", "Pending"] == 1, what="the upload on disk")
        server.kill()
    server.restart()
    found = metrics(server)
    assert (found["blobkeep_recovery_blobs", "live"], found["blobkeep_recovery_blobs", "interrupted"]) == (
        1,
        1,
    )
    assert found["blobkeep_recovery_seconds",] > 0
    assert found["blobkeep_process_crashes_total", "server"] == 1
    assert found["blobkeep_blobs", "Failure"] == 1


def test_names_say_their_units(server: Server) -> None:
    text = server.ask("GET", "/metrics").body.decode()
    for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE):
        assert name.startswith("blobkeep_")
        assert not re.search(r"_(ms|kb|mb|percent|minutes)\b", name)


def test_a_directory_that_is_gone_is_told_and_the_rest_still_shown(
    server: Server, data: DataDirectory
) -> None:
    assert server.ask("POST", "/store/a", b"1").status == 201
    elsewhere = data.path.rename(data.path.parent / "unmounted")
    answer = wait_for(
        lambda: a if (a := server.ask("GET", "/healthz")).status == 503 else None, what="the 503"
    )
    assert answer is not None
    assert "is gone" in json.loads(answer.body)["text"]
    wait_for(lambda: verbose(server)["disk"] is None, what="seeing it")
    assert verbose(server)["ready"] is False
    found = metrics(server)
    assert (found["blobkeep_ready",], found["blobkeep_blobs", "OK"]) == (0, 1)
    elsewhere.rename(data.path)
    wait_for(lambda: server.ask("GET", "/healthz").status == 200, what="its return")
