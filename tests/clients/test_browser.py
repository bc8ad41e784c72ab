"""Stored content cannot do anything to this origin, nor can a page of another origin. A real browser shows
it.

One browser opens all pages, and last a page of our own that may do everything. When all its requests have
arrived, the other pages have had enough time.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import StartServer
from tests.support.processes import Server, wait_for
from tests.support.programs import find, needs

CHROMIUM = find("chromium")
pytestmark = needs("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--remote-debugging-port=0", "--disable-extensions"]

# Each attempt requests a location of its own under {at}, so that the log shows which one got through.
SCRIPT = """
fetch('/store/secret').then(r => r.text()).then(t => fetch('{at}-read?' + t));
fetch('{at}-post', {method: 'POST', body: 'x'});
fetch('/store/victim', {method: 'DELETE'}).then(() => fetch('{at}-delete'));
navigator.sendBeacon('{at}-beacon', 'x');
try { localStorage.setItem('a', 'b'); document.cookie = 'a=b'; fetch('{at}-storage'); } catch (e) {}
new Image().src = '{at}-script-image';
"""
WAYS = ["read", "post", "delete", "beacon", "storage", "script-image"]
HTML = """<!doctype html><html><head>
<link rel="stylesheet" href="{at}-style"><script src="{at}-external"></script>
</head><body onload="fetch('{at}-onload')">
<img src="{at}-image"><img src="x:" onerror="fetch('{at}-onerror')">
<iframe src="{at}-frame"></iframe><object data="{at}-object"></object><video src="{at}-video"></video>
<form id="f" method="post" action="{at}-form" target="g"><input name="a"></form><iframe name="g"></iframe>
<script>{script} document.getElementById('f').submit();</script></body></html>
"""
HTML_WAYS = [*WAYS, "style", "external", "onload", "image", "onerror", "frame", "object", "video", "form"]
# These leave the page, so they have one of their own.
LEAVING = """<!doctype html><script>top.location = '{at}-top'</script>"""
REFRESH = """<!doctype html><meta http-equiv="refresh" content="0;url={at}-refresh">"""
SVG = """<svg xmlns="http://www.w3.org/2000/svg" onload="fetch('{at}-onload')">
<image href="{at}-image" width="9" height="9"/><script><![CDATA[{script}]]></script></svg>"""
XHTML = """<html xmlns="http://www.w3.org/1999/xhtml"><body><img src="{at}-image" alt=""/>
<script><![CDATA[{script}]]></script></body></html>"""
# A page of another origin. A browser sends a form and no-cors requests without asking us, and the rest only
# if we allow it.
EVIL = """<!doctype html>
<form id="f" method="post" enctype="text/plain" action="{own}/store/by-form" target="g">
<input name="a"></form>
<iframe name="g" onload="window.n = (window.n || 0) + 1; if (n > 1) fetch('/form')"></iframe>
<script>document.getElementById('f').submit();
Promise.allSettled([
    fetch('{own}/store/by-fetch', {method: 'POST', mode: 'no-cors', body: 'x'}),
    fetch('{own}/store/victim', {method: 'DELETE'}),
    fetch('{own}/store/victim', {method: 'PUT', body: 'x'}),
    fetch('{own}/store/secret').then(r => r.text()).then(t => fetch('/stolen')),
]).then(() => fetch('/done'));</script>"""
NAMES = ["<script>fetch(1)</script>", '"><img src=x onerror=fetch(2)>', "javascript:fetch(3)", "'onload='x"]


def page(template: str, at: str) -> str:
    return template.replace("{script}", SCRIPT).replace("{at}", at)


class Elsewhere:
    """Another origin. It serves `pages` without any protection, and records its requests."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, str]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.asked.append(self.path)
                kind, text = outer.pages.get(self.path, ("text/plain", "secret"))
                body = text.encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_GET  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()


class Browser:
    """One browser, which opens pages by its debugging port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        assert CHROMIUM is not None
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        told = folder / "DevToolsActivePort"
        wait_for(lambda: told.exists() and told.read_text(), what="the browser's start")
        self.port = int(told.read_text().split()[0])

    def open(self, url: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("PUT", "/json/new?" + quote(url, safe=":/?=&%"))
        assert json.loads(connection.getresponse().read())["id"]
        connection.close()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(120)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path / "browser")
    yield made
    made.close()


def requests_in(server: Server, *but: str) -> list[str]:
    """The request lines in the server's access log, without those of the test itself."""
    lines = [line.split('"')[1] for line in server.said().splitlines() if " HTTP/1.1" in line]
    return [line for line in lines if "favicon.ico" not in line and line not in but]


@pytest.mark.timeout(900)
def test_a_stored_page_can_do_nothing_and_another_origin_cannot_write(
    start_server: StartServer, elsewhere: Elsewhere, browser: Browser
) -> None:
    server = start_server("--access-log")
    stored = {
        "page.html": ("text/html", HTML, "page"),
        "page-charset.html": ("text/HTML; charset=utf-8", HTML, "charset"),
        "leaving.html": ("text/html", LEAVING, "leaving"),
        "refresh.html": ("text/html", REFRESH, "refresh"),
        "picture.svg": ("image/svg+xml", SVG, "svg"),
        "page.xhtml": ("application/xhtml+xml", XHTML, "xhtml"),
        "page.xml": ("text/xml", XHTML, "xml"),
        "page.txt": ("text/plain", HTML, "plain"),
        "page.png": ("image/png", HTML, "sniffed"),
    }
    for name, (kind, template, at) in stored.items():
        body = page(template, f"/store/{at}").encode()
        assert server.ask("POST", f"/store/{name}", body, {"Content-Type": kind}).status == 201
    for name in ["secret", "victim", *(quote("odd/" + name, safe="/") for name in NAMES)]:
        assert server.ask("POST", f"/store/{name}", b"secret").status == 201

    own = f"http://127.0.0.1:{server.port}"
    shown = [f"/store/{name}" for name in stored] + ["/store/", "/store/odd/", "/"]
    before = len(stored) + 2 + len(NAMES)
    wait_for(lambda: len(requests_in(server)) == before, what="the log")
    for path in shown:
        browser.open(own + path)

    elsewhere.pages["/evil"] = ("text/html", EVIL.replace("{own}", own))
    browser.open(elsewhere.url + "/evil")
    # The same pages without protection: now every attempt gets through.
    for name, (kind, template, at) in stored.items():
        elsewhere.pages[f"/{name}"] = (kind, page(template, f"/{at}").replace("/store/", "/"))
    for name in ("leaving.html", "refresh.html", "picture.svg", "page.xhtml", "page.html"):
        browser.open(f"{elsewhere.url}/{name}")
    expected = {f"/page-{way}" for way in HTML_WAYS} - {"/page-read"} | {"/page-read?secret", "/done"}
    expected |= {"/leaving-top", "/refresh-refresh", "/svg-onload", "/svg-post", "/xhtml-post", "/form"}
    wait_for(lambda: expected <= set(elsewhere.asked), 240, f"all of {expected}")

    asked = requests_in(server)[before:]
    ours = re.compile(
        r"GET /(dashboard/[\w.-]+|events|session|store/\?prefix=&\S+) HTTP/1\.1"
    )  # what the dashboard itself requests
    asked = [line for line in asked if not ours.fullmatch(line)]
    of_pages = {f"GET {path} HTTP/1.1" for path in shown}
    assert of_pages <= set(asked)
    of_evil = {"POST /store/by-form HTTP/1.1", "POST /store/by-fetch HTTP/1.1", "GET /store/secret HTTP/1.1"}
    of_evil |= {"OPTIONS /store/victim HTTP/1.1"}
    assert set(asked) - of_pages <= of_evil
    assert asked.count("GET /store/secret HTTP/1.1") <= 1  # of the other origin, which cannot read the answer
    assert "/stolen" not in elsewhere.asked
    for name in ("by-form", "by-fetch"):
        assert server.ask("GET", f"/store/{name}").status == 404
    assert server.ask("GET", "/store/victim").body == b"secret"
