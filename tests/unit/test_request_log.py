"""The request log: its counts, an access log that no client can forge, and its cost, which must be low
enough for reads.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from services.watch.access_log import AccessLog, escaped
from services.watch.request_log import BOUNDS_S, OTHER, RequestLog
from tests.support.work import calls_of

_COMBINED = re.compile(
    r'^(\S+) - (\S+) \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "([^"]*)" (\d{3}) (\d+) "([^"]*)" '
    r'"([^"]*)" (\d+\.\d{6})$'
)


def test_requests_are_counted_by_method_and_status_with_seconds_and_bytes() -> None:
    log = RequestLog()
    log.answered("GET", 200, "/store/a", 0.0002, 0, 10, "::1")
    log.answered("GET", 404, "/store/b", 0.3, 0, 20, "::1")
    log.answered("PUT", 200, "/store/a", 99.0, 5, 0, "::1")
    log.refused("", "", 408, "::1")
    get = log.tallies["GET"]
    assert (get.statuses, get.bytes_out, get.requests) == ({200: 1, 404: 1}, 30, 2)
    assert get.seconds == pytest.approx(0.3002)
    assert get.buckets[BOUNDS_S.index(0.00025)] == 1
    assert get.buckets[BOUNDS_S.index(0.5)] == 1
    assert log.tallies["PUT"].buckets[-1] == 1
    assert log.tallies["PUT"].bytes_in == 5
    assert log.refusals == {408: 1}


def test_a_bucket_holds_its_upper_bound() -> None:
    log = RequestLog()
    for bound in BOUNDS_S:
        log.answered("GET", 200, "/", bound, 0, 0, "::1")
    assert log.tallies["GET"].buckets == [1] * len(BOUNDS_S) + [0]


def test_invented_methods_share_one_tally() -> None:
    log = RequestLog()
    for number in range(1000):
        log.answered(f"M{number}", 405, "/", 0.1, 0, 0, "::1")
    assert list(log.tallies) == [OTHER]
    assert log.tallies[OTHER].statuses == {405: 1000}


def test_counting_costs_few_calls() -> None:
    log = RequestLog()
    log.answered("GET", 200, "/store/a", 0.0004, 0, 1024, "127.0.0.1")  # what is made only once is made here
    calls = calls_of(lambda: log.answered("GET", 200, "/store/a", 0.0004, 0, 1024, "127.0.0.1"))
    assert calls < 12  # under 3 µs


def _written(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines()


def test_the_access_log_is_the_combined_format_with_the_latency(tmp_path: Path) -> None:
    path = tmp_path / "access"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    access = AccessLog(fd)
    log = RequestLog(access)
    headers = {"User-Agent": "curl/8", "Referer": "http://a/"}
    log.answered("GET", 200, "/store/a%20b", 0.0123, 0, 7, "10.1.2.3", headers, "HTTP/1.0", "ann lee")
    log.refused("", "", 431, "10.1.2.4")
    access.close()
    os.close(fd)
    first, second = map(_COMBINED.match, _written(path))
    assert first is not None
    assert second is not None
    assert first.groups() == (
        *("10.1.2.3", "ann_lee", "GET /store/a%20b HTTP/1.0", "200", "7"),
        *("http://a/", "curl/8", "0.012300"),
    )
    assert second.groups() == ("10.1.2.4", "-", "-", "431", "0", "-", "-", "0.000000")


@pytest.mark.parametrize(
    "nasty",
    [
        '" 200 0 "-" "-" 0.1\n127.0.0.1 - - forged',
        "a\r\nb",
        "\x00\x1b[2Jgone",
        "back\\slash\\",
        "caf\u00e9 \u2028 \U0001f4be \ud800",
        '"' * 10_000,
    ],
)
def test_no_line_and_no_field_can_be_forged(tmp_path: Path, nasty: str) -> None:
    path = tmp_path / "access"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    access = AccessLog(fd)
    RequestLog(access).answered(
        nasty, 200, nasty, 0.1, 0, 1, "::1", {"User-Agent": nasty, "Referer": nasty}, nasty, nasty
    )
    access.close()
    os.close(fd)
    lines = _written(path)
    assert len(lines) == 1
    assert _COMBINED.match(lines[0])
    assert lines[0].isprintable()


@pytest.mark.parametrize(
    "query",
    ["expires=9&signature={}", "X-Amz-Expires=9&X-Amz-Signature={}", "signature={}&response-expires=0"],
)
def test_the_signature_of_a_link_is_left_out(tmp_path: Path, query: str) -> None:
    """Whoever read the log could follow each link that was not over."""
    secret = "rLM-nfyXuAhgE1VVwJRdN2"
    target = "/store/a?" + query.format(secret)
    path = tmp_path / "access"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    access = AccessLog(fd)
    headers = {"Referer": f"http://b{target}", "User-Agent": "curl/8"}
    RequestLog(access).answered("GET", 200, target, 0.1, 0, 1, "::1", headers, "HTTP/1.1")
    access.close()
    os.close(fd)
    (line,) = _written(path)
    assert secret not in line
    found = _COMBINED.match(line)
    assert found is not None
    shown = "/store/a?" + query.format("***")
    assert (found[3], found[6]) == (f"GET {shown} HTTP/1.1", f"http://b{shown}")


def test_escapes_are_the_bytes_that_the_client_sent() -> None:
    assert escaped('a"b\\c\n\xff') == "a\\x22b\\x5Cc\\x0A\\xFF"


def test_a_reader_that_hangs_holds_up_nobody_and_costs_bounded_memory() -> None:
    reading, writing = os.pipe()  # nobody reads, so it is full after 64 KiB
    access = AccessLog(writing, max_bytes=500_000)
    for _ in range(10_000):
        access.tell("::1", "-", "GET / HTTP/1.1", 200, 0, "", "", 0.1)
    assert access.dropped > 2000
    os.close(reading)  # the blocked write fails, and the thread goes on
    access.close()
    os.close(writing)
