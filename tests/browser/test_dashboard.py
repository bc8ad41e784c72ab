"""The view of the server's state, in a real browser, on real processes."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from common.version import VERSION
from tests.browser.conftest import Visit
from tests.browser.pages import overview, told
from tests.conftest import StartServer
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory


@pytest.fixture
def gc(data: DataDirectory) -> Iterator[Process]:
    """A gc with a pass each second, started after the server has made the directory."""
    process = Process("gc", data.root, "--gc-interval", "1")
    yield process
    process.end()


def test_a_killed_gc_turns_red_and_back(visit: Visit, server: Server, gc: Process) -> None:
    page = overview(visit, server)
    card = page.locator("#process-gc")
    expect(card.locator(".word")).to_have_text("Running")
    expect(card).to_have_class("card good")
    gc.kill()
    expect(card).to_have_class("card bad")
    expect(card.locator(".word")).to_have_text("Down")
    expect(page.locator("#verdict")).to_contain_text("gc")
    gc.restart()
    expect(card).to_have_class("card good")
    expect(card).to_contain_text("crashes1")
    gc.popen.send_signal(signal.SIGSTOP)
    expect(card.locator(".word")).to_have_text("Not responding")
    gc.popen.send_signal(signal.SIGCONT)
    expect(card.locator(".word")).to_have_text("Running")


def test_the_feed_tells_each_event_once_and_alarms_only_where_it_should(
    visit: Visit, server: Server, gc: Process
) -> None:
    page = overview(visit, server)
    for method, body in (("POST", b"1"), ("PUT", b"2"), ("DELETE", None)):
        assert server.ask(method, "/store/a", body).status < 300
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /store/cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab")
        wait_for(lambda: page.locator("#tile-pending span").inner_text() == "1", what="the upload")
    wait_for(
        lambda: sorted(told(page, "a")) == ["Created", "Deleted", "Freed", "Freed", "Replaced"],
        what="the words",
    )
    assert told(page, "a")[:3] == ["Created", "Replaced", "Deleted"]
    wait_for(lambda: "Failed" in told(page, "cut"), what="the failure")
    expect(page.locator("#feed .word.bad")).to_have_text("Failed")
    failed = page.locator("#feed li").filter(has=page.locator(".word.bad"))
    expect(failed).to_contain_text("connection lost")
    page.reload()  # and a page that is opened later gets the same
    wait_for(lambda: told(page, "a")[:3] == ["Created", "Replaced", "Deleted"], what="the past")
    page.locator("#feed").get_by_role("link", name="a", exact=True).first.click()
    expect(page.locator("#blob-message")).to_contain_text("its space was freed")


def test_damage_is_shown_with_what_to_do(visit: Visit, server: Server, data: DataDirectory) -> None:
    page = overview(visit, server)
    assert server.ask("POST", "/store/a/rotten", b"12345").status == 201
    blob_id = server.ask("HEAD", "/store/a/rotten").headers["blob-id"]
    (data.path / blob_id / "data.raw").write_bytes(b"12344")
    data.rotten = True
    assert server.ask("GET", "/store/a/rotten").status == 500
    expect(page.locator("#damaged")).to_contain_text("a/rotten")
    expect(page.locator("#damaged")).to_contain_text("upload the blob anew")
    expect(page.locator("#verdict")).to_contain_text("damage")
    expect(page.locator("#feed .word.bad")).to_have_text("Damaged")
    page.get_by_role("link", name="Upload or delete").click()
    expect(page.locator("#blob-state")).to_have_text("Damaged")
    expect(page.locator("#blob-download")).to_be_hidden()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#view-blobs")).to_be_visible()
    assert server.ask("GET", "/store/a/rotten").status == 404
    page.locator("#nav-overview").click()
    expect(page.locator("#damaged")).not_to_be_visible()


def test_a_dead_server_is_told_with_the_age_of_the_figures_and_its_return_too(
    visit: Visit, start_server: StartServer
) -> None:
    server = start_server()
    page = overview(visit, server)
    expect(page.locator("#as-of")).to_be_hidden()
    grey = "getComputedStyle(document.querySelector('#tile-ok')).filter"
    assert page.evaluate(grey) == "none"
    server.kill()
    expect(page.locator("#process-server .word")).to_have_text("No answer")
    expect(page.locator("#verdict")).to_have_text("The server does not answer")
    expect(page.locator("#as-of")).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d\.$"))
    assert page.evaluate(grey) == "grayscale(1)"
    start_server("-s", f"127.0.0.1:{server.port}")
    expect(page.locator("#process-server .word")).to_have_text("Running")
    expect(page.locator("#process-server")).to_contain_text("crashes1")
    expect(page.locator("#as-of")).to_be_hidden()


def test_the_top_says_which_server_this_is_and_that_it_is_open(
    visit: Visit, server: Server, data: DataDirectory
) -> None:
    page = overview(visit, server)
    expect(page.locator("#address")).to_have_text(f"127.0.0.1:{server.port}")
    facts = page.locator("#server-facts")
    for fact in (socket.gethostname(), VERSION, str(data.root)):
        expect(facts).to_contain_text(fact)
    expect(page.locator("#open")).to_have_text("Open to everyone")
    expect(page.locator("#token-button")).to_be_hidden()
    expect(page.locator("#who")).to_be_hidden()
