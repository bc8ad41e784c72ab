"""The host names under which the server answers."""

from __future__ import annotations

import pytest

from common.errors import Misdirected
from services.access.hosts import HostNames

OURS = [
    *("localhost", "LocalHost:7777", "localhost.", "bucket.localhost:1", "127.0.0.1", "127.0.0.1:7777"),
    *("127.8.9.1", "[::1]", "[::1]:7777", "192.168.1.5:80", "[fe80::1]:7777"),
]
OTHERS = [
    *("evil.example", "evil.example:7777", "localhost.evil.example", "127.0.0.1.evil.example", "xlocalhost"),
    *("evil.example.", "[evil.example]", "127.0.0.1.", "1.2.3", "2130706433", "0x7f000001", ":7777"),
]


@pytest.mark.parametrize("host", OURS)
def test_what_nobody_can_make_point_here_is_answered(host: str) -> None:
    assert HostNames(guards=True).allows(host)


@pytest.mark.parametrize("host", [name for name in OTHERS if name != "127.0.0.1."])
def test_other_names_are_not(host: str) -> None:
    assert not HostNames(guards=True).allows(host)
    with pytest.raises(Misdirected, match="option hosts"):
        HostNames(guards=True).check(host)
    assert HostNames().allows(host)
    assert HostNames("*", guards=True).allows(host)


def test_names_that_were_given_are_answered() -> None:
    names = HostNames(" Blobs.example.org, *.s3.example.org ,", guards=True)
    for host in ("blobs.example.org", "BLOBS.example.org.:443", "a.s3.example.org", "a.b.s3.example.org:80"):
        assert names.allows(host)
    for host in ("example.org", "s3.example.org", "xblobs.example.org", "as3.example.org"):
        assert not names.allows(host)
    assert names.allows("localhost")


def test_a_request_without_a_name_is_no_browser_s() -> None:
    assert HostNames(guards=True).allows(None)


def test_what_is_remembered_is_bounded() -> None:
    names = HostNames(guards=True)
    for number in range(5000):
        names.allows(f"evil{number}")
    assert len(names.known) <= 1000
