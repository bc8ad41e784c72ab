"""Locations: any path of UTF-8, decoded once, never normalised, never part of a file name."""

from __future__ import annotations

import os
from urllib.parse import quote

import pytest

from services.engines.local.disk import layout
from tests.support.processes import Server
from tests.support.raw import connected

GOOD_NAMES = [
    "a",
    "a/b/c.txt",
    "with space",
    "✓/ü",
    "a%2Fb",
    "100%",
    "?",
    "#",
    "a;b=c&d",
    "...",
    "a..b",
    "\\..\\",
    "~",
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_any_path_of_utf8_is_a_location(name: str, strict: Server, location: str) -> None:
    target = f"/store/{location}/{quote(name)}"
    answer = strict.ask("POST", target, name.encode())
    assert (answer.status, answer.headers["location"]) == (201, target)
    assert strict.ask("GET", target).body == name.encode()


def test_no_name_reaches_the_file_system(strict: Server, location: str) -> None:
    for name in GOOD_NAMES:
        strict.ask("POST", f"/store/{location}/etc/{quote(name)}", b"x")
    for raw in BAD_NAMES.values():
        with connected(strict.port) as connection:
            connection.ask("POST", b"/store/" + raw, None, b"x")
    ours = layout.OUR_NAMES | {layout.STATE_NAME, layout.DATA_NAME}
    temporary = {name + ".tmp" for name in ours}
    for _, folders, files in os.walk(strict.root):
        foreign = {name for name in [*folders, *files] if layout.parse_id(name) is None}
        assert foreign <= ours | temporary
        folders[:] = [name for name in folders if name not in layout.OUR_NAMES]


def test_an_encoded_slash_is_a_slash_and_decoding_happens_once(strict: Server, location: str) -> None:
    strict.ask("POST", f"/store/{location}/a%2fb", b"1")
    assert strict.ask("GET", f"/store/{location}/a/b").body == b"1"
    assert strict.ask("GET", f"/store/{location}/a%252fb").status == 404


SPELLINGS = ["{}/./b", "{}//b", "./{}/b", "/{}/b", "{}/%2e/b", "{}%2F%2Fb", "{}/.//./b", "{}/b/."]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_dots_and_empty_segments_are_dropped(spelling: str, strict: Server, location: str) -> None:
    """rclone asks for dir/./name where a name has a colon, apt for ./Packages, others for base//name."""
    plain, spelled = f"/store/{location}/b", f"/store/{spelling.format(location)}"
    answer = strict.ask("POST", spelled, b"1")
    assert (answer.status, answer.headers["location"]) == (201, plain)
    for target in (spelled, plain):
        assert strict.ask("GET", target).body == b"1"
        assert strict.ask("HEAD", target).headers["content-length"] == "1"
    assert strict.ask("PUT", spelled, b"22").status == 200
    assert strict.ask("POST", spelled, b"3").status == 409
    assert strict.ask("GET", plain).body == b"22"
    assert strict.ask("DELETE", spelled).status == 200
    assert strict.ask("GET", plain).status == 404


def test_a_listing_may_be_spelled_so_too(strict: Server, location: str) -> None:
    strict.ask("POST", f"/store/{location}/b", b"1")
    expected = strict.ask("GET", f"/store/{location}/").body
    for spelling in (f"{location}//", f"./{location}/", f"{location}/./", f"/{location}/"):
        assert strict.ask("GET", f"/store/{spelling}").body == expected


def test_another_normal_form_is_another_location(strict: Server, location: str) -> None:
    composed, decomposed = quote("\u00fc"), quote("u\u0308")
    strict.ask("POST", f"/store/{location}/{composed}", b"1")
    assert strict.ask("GET", f"/store/{location}/{decomposed}").status == 404


BAD_NAMES = {
    "empty": b"",
    "over 1,024 bytes": b"a" * 1025,
    "over 1,024 bytes of UTF-8": b"%C3%BC" * 513,
    "not UTF-8": b"a%FF",
    "NUL": b"a%00",
    "line feed": b"a%0ab",
    "C1": b"a%C2%85",
    "dot dot": b"a/../b",
    "encoded dot dot": b"%2e%2e/etc/passwd",
    "dot dot behind an encoded slash": b"a%2f..",
    "a slash at the end": b"a/",
    "half an escape": b"a%2",
    "surrogate": b"%ED%A0%80",
    "overlong slash": b"%C0%AF",
}


@pytest.mark.parametrize("raw", BAD_NAMES.values(), ids=BAD_NAMES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
def test_a_bad_location_is_400(raw: bytes, method: str, strict: Server) -> None:
    if method == "GET" and (not raw or raw == b"a/"):
        pytest.skip("a listing")
    with connected(strict.port) as connection:
        answer = connection.ask(method, b"/store/" + raw, None, b"x" if method != "GET" else None)
    assert answer.status == 400
    assert answer.body.startswith(b'{"code": 400, "text": "The location ')


def test_a_location_of_1024_bytes_is_accepted(strict: Server) -> None:
    target = "/store/" + "%C3%BC" * 512
    assert strict.ask("POST", target, b"long").status == 201
    assert strict.ask("GET", target).body == b"long"
