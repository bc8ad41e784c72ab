"""Listings: by location in pages, as JSON and as links, and by id in every state."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest

from tests.http.conftest import shared_server
from tests.http.pages import page, pages
from tests.support.processes import Answer, Server
from tests.support.programs import needs
from tests.support.raw import RawConnection

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
COUNT = 2500
NAMES = sorted(f"many/{n % 50:02}/{n:04}" for n in range(COUNT))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with 2,500 small blobs in 50 folders. Which connection class serves it makes no difference."""
    for server in shared_server(tmp_path_factory, "blobkeep"):
        connections = [RawConnection(server.port) for _ in range(50)]
        for at in range(0, COUNT, 50):
            for connection, name in zip(connections, NAMES[at : at + 50], strict=True):
                connection.request("POST", f"/store/{name}", None, name.encode())
            assert {connection.answer().status for connection in connections} == {201}
        for connection in connections:
            connection.close()
        yield server


def locations(found: dict[str, Any]) -> list[str]:
    return [blob["location"] for blob in found["blobs"]]


def test_pages_hold_every_location_once_in_order(filled: Server) -> None:
    found = list(pages(filled, "/store/", prefix="many/", limit=999))
    assert [len(locations(p)) for p in found] == [999, 999, 502]
    assert [name for p in found for name in locations(p)] == NAMES
    assert [p["prefixes"] for p in found] == [[], [], []]


def test_a_page_holds_1000_unless_it_is_told_otherwise(filled: Server) -> None:
    assert locations(page(filled, "/store/")) == NAMES[:1000]
    assert locations(page(filled, "/store/", limit=10000)) == NAMES


def test_an_entry_says_what_a_head_says(filled: Server) -> None:
    (entry,) = page(filled, "/store/", prefix=NAMES[7])["blobs"]
    head = filled.ask("HEAD", f"/store/{NAMES[7]}").headers
    assert entry["location"] == NAMES[7]
    assert str(entry["id"]) == head["blob-id"]
    assert str(entry["size"]) == head["content-length"]
    assert (entry["etag"], entry["type"]) == (head["etag"], head["content-type"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", entry["modified"])


def test_a_delimiter_folds_what_is_below_it(filled: Server) -> None:
    assert page(filled, "/store/", delimiter="/") == {"blobs": [], "prefixes": ["many/"], "next": None}
    found = list(pages(filled, "/store/", prefix="many/", delimiter="/", limit=20))
    assert [p["prefixes"] for p in found] == [
        [f"many/{n:02}/" for n in range(a, min(a + 20, 50))] for a in (0, 20, 40)
    ]


def test_a_folder_is_its_prefix_and_delimiter(filled: Server) -> None:
    for target in ("/store/many/07/", "/store/many%2F07/", "/store/many/07%2F"):
        assert page(filled, target) == page(filled, "/store/", prefix="many/07/", delimiter="/")
    assert len(locations(page(filled, "/store/many/", delimiter="", limit=10000))) == COUNT


@pytest.mark.parametrize("target", ["/store/nothing/", "/store/many/07/0007/", "/store/man/"])
def test_a_folder_with_nothing_under_it_is_404(target: str, filled: Server) -> None:
    assert filled.ask("GET", target).status == 404


BAD = [
    "limit=0",
    "limit=10001",
    "limit=x",
    "limit=",
    "delimiter=x",
    "prefx=a",
    "prefix=%FF",
    "after=%00",
    "a=b",
]


@pytest.mark.parametrize("query", [*BAD, "limit=1&limit=2", "prefix=%2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_bad_parameter_is_400(query: str, method: str, filled: Server) -> None:
    assert filled.ask(method, f"/store/?{query}").status == 400


@pytest.mark.parametrize("target", ["/store/", "/store/many/", "/blobs/", "/blobs/1"])
def test_a_listing_knows_get_head_and_options(target: str, filled: Server) -> None:
    allow = "GET, HEAD, OPTIONS" + (", PROPFIND, MKCOL" if target.startswith("/store/") else "")
    answer = filled.ask("OPTIONS", target)
    assert (answer.status, answer.headers["allow"]) == (204, allow)
    answer = filled.ask("PATCH", target)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    head, get = filled.ask("HEAD", target), filled.ask("GET", target)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers.get("content-length") == get.headers.get("content-length")


def test_pages_are_stable_while_blobs_come_and_go(filled: Server) -> None:
    """A blob that is there all the time is listed exactly once, and nothing is listed that was never
    there.
    """
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            name = f"/store/many/{number % 50:02}/{number % 97:04}-churn"
            if filled.ask("POST", name, b"").status == 409:
                filled.ask("DELETE", name)
            number += 1

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            seen = [n for p in pages(filled, "/store/", prefix="many/", limit=100) for n in locations(p)]
            assert seen == sorted(set(seen))
            assert [name for name in seen if not name.endswith("-churn")] == NAMES
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for found in list(pages(filled, "/store/", limit=10000)):
            for name in locations(found):
                if name.endswith("-churn"):
                    filled.ask("DELETE", f"/store/{name}")


# --- HTML ---


class Links(HTMLParser):
    """The links of a page, as (href, text)."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.tags: list[str] = []
        self.feed(answer.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.found.append([dict(attrs)["href"] or "", ""])
            self.cdata = True

    def handle_data(self, data: str) -> None:
        if self.lasttag == "a" and not self.found[-1][1]:
            self.found[-1][1] = data


def test_a_browser_walks_from_the_root_to_every_blob(filled: Server) -> None:
    found: list[str] = []
    todo = ["/store/"]
    while todo:
        target = todo.pop()
        answer = filled.ask("GET", target, None, HTML)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        for href, _ in Links(answer).found:
            if href != "../":
                (todo if href.endswith("/") else found).append(urljoin(target, href))
    assert sorted(found) == [f"/store/{name}" for name in NAMES]


def test_a_page_of_links_leads_to_the_next(filled: Server) -> None:
    target, seen = "/store/many/?limit=20", []
    while target:
        links = Links(filled.ask("GET", target, None, HTML)).found
        seen += [href for href, text in links if text not in ("../", "more")]
        target = next((urljoin(target, href) for href, text in links if text == "more"), "")
    assert seen == [f"{n:02}/" for n in range(50)]


def test_json_is_for_who_does_not_ask_for_html(filled: Server) -> None:
    for headers in (
        {},
        {"Accept": "*/*"},
        {"Accept": "application/json"},
        {"User-Agent": "curl/8", "Accept": "*/*"},
    ):
        answer = filled.ask("GET", "/store/many/07/", None, headers)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["vary"] == "Accept, User-Agent"
    for headers in (
        HTML,
        {"User-Agent": "Wget/1.21.3", "Accept": "*/*"},
        {"User-Agent": "rclone/v1.60.1-DEV"},
    ):
        answer = filled.ask("GET", "/store/many/07/", None, headers)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["vary"] == "Accept, User-Agent"


EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "a:b",
    "a&amp;b",
    "'",
    "é ?#%",
]


def test_no_name_escapes_from_a_page(strict: Server, location: str) -> None:
    for name in EVIL:
        assert strict.ask("POST", f"/store/{location}/{quote(name)}", name.encode()).status == 201
    target = f"/store/{location}/"
    answer = strict.ask("GET", target, None, HTML)
    links = Links(answer)
    assert set(links.tags) <= {"html", "head", "meta", "title", "body", "h1", "pre", "a"}
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    names = [text for _, text in links.found if text != "../"]
    assert names == sorted({name.split("/")[0] + "/" * ("/" in name) for name in EVIL})
    for href, text in links.found:
        if not href.endswith("/"):
            assert strict.ask("GET", urljoin(target, href)).body == text.encode()


def test_links_hold_where_the_slash_of_a_folder_is_encoded(filled: Server) -> None:
    for target in ("/store/many%2F07/", "/store/many/07%2F", "/store/many%2F07%2F"):
        hrefs = [href for href, _ in Links(filled.ask("GET", target, None, HTML)).found if href != "../"]
        assert len(hrefs) == 50
        assert filled.ask("GET", urljoin(target, hrefs[0])).body == b"many/07/0007"


@needs("wget")
def test_wget_mirrors_a_folder(filled: Server, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{filled.port}/store/many/07/"
    subprocess.run(["wget", "-q", "-r", "-np", "-nH", base], cwd=tmp_path, check=True, timeout=120)
    found = sorted(p.name for p in (tmp_path / "store/many/07").iterdir() if p.name != "index.html")
    assert found == [name.rpartition("/")[2] for name in NAMES if name.startswith("many/07/")]


@needs("rclone")
def test_rclone_lists_all_folders(filled: Server) -> None:
    url = f"http://127.0.0.1:{filled.port}/store/"
    run = subprocess.run(
        ["rclone", "lsf", "-R", "--files-only", "--http-no-head", "--http-url", url, ":http:"],
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert sorted(run.stdout.decode().split()) == NAMES


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_folder_without_its_slash_leads_to_it_where_html_is_asked_for(method: str, filled: Server) -> None:
    """Before, lftp's cd, wget -r and typed URLs failed."""
    for headers in (HTML, {"User-Agent": "rclone/v1.60"}, {"User-Agent": "Wget/1.21", "Accept": "*/*"}):
        for target, leads_to in (("/store/many", "many/"), ("/store/many/07?limit=3", "07/?limit=3")):
            answer = filled.ask(method, target, None, headers)
            assert (answer.status, answer.headers["location"]) == (308, leads_to)
            followed = filled.ask("GET", urljoin(target, leads_to), None, headers)
            assert (followed.status, followed.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert filled.ask(method, "/store/man", None, headers).status == 404
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert filled.ask(method, "/store/many", None, headers).status == 404


def test_a_blob_comes_before_the_folder_of_its_name(strict: Server, location: str) -> None:
    strict.ask("POST", f"/store/{location}", b"a blob")
    strict.ask("POST", f"/store/{location}/under", b"under it")
    assert strict.ask("GET", f"/store/{location}", None, HTML).body == b"a blob"
    strict.ask("POST", f"/store/{location}/a:b/c", b"under it")
    answer = strict.ask("GET", f"/store/{location}/a:b", None, HTML)
    assert (answer.status, answer.headers["location"]) == (308, "a%3Ab/")  # no scheme "a"
