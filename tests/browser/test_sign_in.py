"""Signing in, in a real browser: the page shows who the user is and what they may do, and offers nothing
else.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.pages import access, address, names, opened, sign_in
from tests.conftest import StartServer
from tests.support.processes import Server, wait_for

ANN = {"Authorization": "Bearer secret-of-ann"}


@pytest.fixture
def guarded(start_server: StartServer, tmp_path: Path) -> Server:
    clients = [
        ("ann", "read-write", ""),
        ("eve", "read-only", ""),
        ("bob", "append-only", ""),
        ("team", "read-write", "team/"),
    ]
    server = start_server("--auth-file", str(access(tmp_path / "clients", *clients)))
    for location in ("team/one", "other"):
        assert server.ask("POST", f"/store/{location}", b"12345", ANN).status == 201
    return server


def test_a_wrong_secret_gets_a_message_and_a_right_one_says_who(visit: Visit, guarded: Server) -> None:
    page = opened(visit, guarded)
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#open")).to_be_hidden()
    sign_in(page, "guess")
    expect(page.locator("#sign-in-wrong")).to_contain_text("is unknown here")
    expect(page.locator("#sign-in")).to_be_visible()
    sign_in(page, "secret-of-ann")
    expect(page.locator("#who")).to_contain_text("ann may read and write")
    expect(page.locator("#process-server .word")).to_have_text("Running")
    page.reload()
    expect(page.locator("#process-server .word")).to_have_text("Running")  # kept for this tab


def test_a_download_with_a_token_is_a_link_that_the_browser_saves(visit: Visit, guarded: Server) -> None:
    page = opened(visit, guarded, "#/blob/other")
    sign_in(page, "secret-of-ann")
    expect(page.locator("#blob-urls")).to_contain_text('curl -fO -H "Authorization: Bearer $TOKEN"')
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert "/downloads/" in download.value.url
    assert Path(download.value.path()).read_bytes() == b"12345"
    assert download.value.suggested_filename == "other"


def test_a_link_that_expires_is_made_and_needs_no_token(visit: Visit, guarded: Server) -> None:
    page = opened(visit, guarded, "#/blob/other")
    sign_in(page, "secret-of-eve")
    page.get_by_label("good for").select_option("an hour")
    page.get_by_role("button", name="Make a link").click()
    expect(page.locator("#link-made")).to_contain_text("Whoever has it may read this blob until")
    path = page.locator("#link-made .value").inner_text().partition(f":{guarded.port}")[2]
    assert path.startswith("/store/other?expires=")
    assert guarded.ask("GET", path).body == b"12345"
    assert guarded.ask("DELETE", path).status == 403


def test_who_may_only_read_is_offered_no_more(visit: Visit, guarded: Server) -> None:
    page = opened(visit, guarded, "#/blobs/")
    sign_in(page, "secret-of-eve")
    expect(page.locator("#who")).to_contain_text("eve may read")
    wait_for(lambda: names(page) == ["team/", "other"], what="the list")
    for hidden in ("#drop", "#select-all", "#token-button"):
        expect(page.locator(hidden)).to_be_hidden()
    page.get_by_role("link", name="other").click()
    expect(page.locator("#blob-download")).to_be_visible()
    for hidden in ("#blob-replace", "#blob-delete"):
        expect(page.locator(hidden)).to_be_hidden()


def test_who_may_create_is_offered_that(visit: Visit, guarded: Server) -> None:
    page = opened(visit, guarded, "#/blobs/")
    sign_in(page, "secret-of-bob")
    expect(page.locator("#who")).to_contain_text("bob may read and create")
    page.set_input_files("#files", {"name": "mine", "mimeType": "text/plain", "buffer": b"1"})
    expect(page.locator("#uploads")).to_contain_text("stored")
    expect(page.locator("#select-all")).to_be_hidden()
    page.set_input_files("#files", {"name": "other", "mimeType": "text/plain", "buffer": b"1"})
    expect(page.locator("#uploads .bad")).to_be_visible()
    expect(page.locator("#confirm")).to_be_hidden()  # the client may not replace, so the page does not ask
    assert guarded.ask("GET", "/store/other", headers=ANN).body == b"12345"


def test_a_client_with_a_prefix_begins_there_and_sees_no_alarm(visit: Visit, guarded: Server) -> None:
    page = opened(visit, guarded)
    sign_in(page, "secret-of-team")
    expect(page.locator("#who")).to_contain_text("team may read and write under team/")
    wait_for(lambda: address(page) == "/blobs/team/" and names(page) == ["one"], what="its folder")
    expect(page.locator("#verdict")).to_have_text("Serving")
    expect(page.locator("#verdict")).to_have_class("pill good")
    for hidden in ("#nav-overview", "#process-server", "#server-facts"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#search-label")).not_to_contain_text("id")  # which the client may not ask for
    page.fill("#search-input", "te")
    expect(page.locator("#found")).to_contain_text("team/one")
    page.get_by_role("link", name="one", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_bytes() == b"12345"
    page.locator("#nav-blobs").click()
    page.set_input_files("#files", {"name": "two", "mimeType": "text/plain", "buffer": b"1"})
    expect(page.locator("#uploads")).to_contain_text("stored")


def test_signing_out_leaves_nothing_of_what_was_seen(visit: Visit, guarded: Server) -> None:
    page = opened(visit, guarded)
    sign_in(page, "secret-of-ann")
    expect(page.locator("#feed")).to_contain_text("team/one")
    page.goto(f"http://127.0.0.1:{guarded.port}/#/blobs/team/")
    wait_for(lambda: names(page) == ["one"], what="the list")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#verdict")).to_have_text("Sign in to see how it is")
    assert "team" not in page.content()
    assert "ann" not in page.inner_text("header")
    assert page.evaluate("sessionStorage.length") == 0
    page.keyboard.press("Escape")
    expect(page.locator("#view-closed")).to_be_visible()
    page.go_back()
    expect(page.locator("#view-blobs")).to_be_hidden()


def test_a_token_that_is_revoked_is_asked_for_anew(visit: Visit, guarded: Server, tmp_path: Path) -> None:
    page = opened(visit, guarded, "#/blobs/")
    sign_in(page, "secret-of-ann")
    expect(page.locator("#who")).to_be_visible()
    wait_for(lambda: "other" in names(page), what="the list")
    access(tmp_path / "clients", ("eve", "read-only", ""))
    guarded.popen.send_signal(1)
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#sign-in-wrong")).to_be_visible()
    page.reload()
    expect(page.locator("#sign-in-wrong")).to_contain_text("is unknown here")
