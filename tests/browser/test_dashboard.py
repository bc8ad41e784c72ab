"""The dashboard in a real browser, on real processes."""

from __future__ import annotations

import hashlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import FilePayload, Page, expect

from services.access import file as access_file
from services.access.secret_hash import hash_token
from tests.browser.conftest import Visit
from tests.conftest import StartServer
from tests.http.test_listings import EVIL
from tests.http.test_names import GOOD_NAMES
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory


@pytest.fixture
def gc(data: DataDirectory) -> Iterator[Process]:
    """A gc that makes a pass a second, once the server has made the directory."""
    process = Process("gc", data.root, "--gc-interval", "1")
    yield process
    process.end()


@pytest.fixture
def page(visit: Visit, server: Server) -> Page:
    """The dashboard of `server`, with its first news."""
    return opened(visit, server)


def opened(visit: Visit, server: Server) -> Page:
    visit.page.goto(f"http://127.0.0.1:{server.port}/")
    expect(visit.page.locator("#process-server .word")).to_have_text("Running")
    return visit.page


def feed_of(page: Page, location: str) -> list[str]:
    """The states in the feed of one location, oldest first."""
    rows = page.locator("#feed li").filter(has=page.get_by_role("button", name=location, exact=True))
    return [text.strip() for text in reversed(rows.locator(".state").all_inner_texts())]


def search(page: Page, text: str) -> None:
    page.fill("#search-input", text)
    page.press("#search-input", "Enter")


def test_a_killed_gc_turns_red_and_back(page: Page, gc: Process) -> None:
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


def test_a_blob_is_uploaded_updated_and_deleted_and_its_states_pass_by(
    page: Page, server: Server, gc: Process, tmp_path: Path
) -> None:
    first, second = tmp_path / "one.txt", tmp_path / "two.txt"
    first.write_bytes(b"first" * 100_000)
    second.write_bytes(b"second")
    page.fill("#folder", "some/where")
    page.set_input_files("#files", first)
    expect(page.locator("#uploads")).to_contain_text("stored")
    location = "some/where/one.txt"
    assert server.ask("GET", f"/store/{location}").body == first.read_bytes()
    wait_for(lambda: feed_of(page, location) == ["OK", "Pending", "OK"], what="its states")
    expect(page.locator("#tile-ok")).to_contain_text("1")

    search(page, location)
    dialog = page.locator("#blob")
    expect(dialog.locator("#blob-state")).to_have_text("OK")
    expect(dialog).to_contain_text(hashlib.sha256(first.read_bytes()).hexdigest())
    expect(dialog.locator("#blob-history")).to_contain_text("Blob Data WR Complete!")
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_bytes() == first.read_bytes()

    page.set_input_files("#blob-file", second)
    expect(page.locator("#blob-message")).to_have_text("Replaced.")
    assert server.ask("GET", f"/store/{location}").body == b"second"
    expect(dialog.locator("#blob-history")).to_contain_text("Blob Updated & Saved!")

    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#confirm-text")).to_contain_text("no undo")
    page.get_by_role("button", name="Cancel").click()
    assert server.ask("GET", f"/store/{location}").status == 200
    dialog.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(dialog).not_to_be_visible()
    assert server.ask("GET", f"/store/{location}").status == 404
    expected = ["OK", "Pending", "OK", "Failure", "OK", "Pending", "OK", "Failure", "Removed", "Removed"]
    wait_for(lambda: sorted(feed_of(page, location)) == sorted(expected), what="the rest of its states")
    expect(page.locator("#process-gc")).to_contain_text("2 removed in all")


def test_files_are_dropped_with_progress_and_what_is_there_is_replaced_only_on_demand(
    page: Page, server: Server
) -> None:
    drop = """([name, text]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([text], name, {type: "text/plain"}));
        document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: transfer}));
    }"""
    page.evaluate(drop, ["a b%?#.txt", "one"])
    expect(page.locator("#uploads .good")).to_have_text("stored")
    answer = server.ask("GET", "/store/a%20b%25%3F%23.txt")
    assert (answer.body, answer.headers["content-type"]) == (b"one", "text/plain")
    page.evaluate(drop, ["a b%?#.txt", "two"])
    page.get_by_role("button", name="Cancel").last.click()
    expect(page.locator("#uploads .bad")).to_have_text("Left as it was.")
    assert server.ask("GET", "/store/a%20b%25%3F%23.txt").body == b"one"
    page.evaluate(drop, ["a b%?#.txt", "two"])
    page.get_by_role("button", name="Replace", exact=True).click()
    expect(page.locator("#uploads .good").last).to_have_text("replaced")
    assert server.ask("GET", "/store/a%20b%25%3F%23.txt").body == b"two"


def test_of_two_files_that_are_there_each_is_asked_about(visit: Visit, server: Server) -> None:
    for name in ("one", "two"):
        assert server.ask("POST", f"/store/{name}", b"old").status == 201
    page = opened(visit, server)
    files: list[FilePayload] = [
        {"name": name, "mimeType": "text/plain", "buffer": b"new"} for name in ("one", "two")
    ]
    page.set_input_files("#files", files)
    question = page.locator("#confirm-text")
    expect(question).to_contain_text("is there already")
    first = "one" if "one" in question.inner_text() else "two"
    second = "two" if first == "one" else "one"
    page.get_by_role("button", name="Cancel").last.click()
    expect(question).to_contain_text(second)
    page.get_by_role("button", name="Replace", exact=True).click()
    expect(page.locator("#uploads .good")).to_have_text("replaced")
    assert server.ask("GET", f"/store/{first}").body == b"old"
    assert server.ask("GET", f"/store/{second}").body == b"new"


def test_a_large_file_is_not_sent_to_learn_that_it_is_there_or_not_allowed(
    visit: Visit, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("--max-blob-size", "20 MB")
    assert server.ask("POST", "/store/there", b"old").status == 201
    page = opened(visit, server)
    for name, size in (("there", 15_000_000), ("large", 30_000_000)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    page.set_input_files("#files", tmp_path / "there")
    expect(page.locator("#confirm-text")).to_contain_text("is there already")
    page.get_by_role("button", name="Cancel").last.click()
    page.set_input_files("#files", tmp_path / "large")
    expect(page.locator("#uploads .bad").last).to_contain_text("over the limit")
    text = server.ask("GET", "/metrics").body.decode()
    received = re.search(r'blobkeep_request_body_bytes_total\{method="POST"\} (\S+)', text)
    assert received is not None
    assert float(received[1]) < 30_000_000


def test_blobs_are_browsed_by_prefix_and_found_by_id_with_the_keyboard_alone(
    visit: Visit, server: Server
) -> None:
    for location in ("a/b/one", "a/b/two", "a/three", "four"):
        assert server.ask("POST", f"/store/{location}", b"12345").status == 201
    page = opened(visit, server)
    listing = page.locator("#listing")
    expect(listing.locator("tr")).to_have_count(2)
    listing.get_by_role("button", name="a/").focus()
    page.keyboard.press("Enter")
    expect(listing.locator("tr")).to_have_count(2)
    listing.get_by_role("button", name="b/").focus()
    page.keyboard.press("Enter")
    expect(listing).to_contain_text("two")
    page.locator("#search-input").focus()
    page.keyboard.type(server.ask("HEAD", "/store/four").headers["blob-id"])
    page.keyboard.press("Enter")
    expect(page.locator("#blob-title")).to_have_text("four")
    page.keyboard.press("Escape")
    expect(page.locator("#blob")).not_to_be_visible()
    page.locator("#search-input").fill("nothing/like/it")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("no such blob")


def test_what_users_choose_is_only_ever_text(visit: Visit, server: Server) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    quoted = "%3Cimg%20src=x%20onerror=alert(1)%3E"
    page = opened(visit, server)
    assert server.ask("POST", f"/store/{quoted}", b"1", {"Content-Type": "text/html"}).status == 201
    wait_for(lambda: feed_of(page, nasty) == ["OK", "Pending", "OK"], what="its states")
    search(page, nasty)
    expect(page.locator("#blob-title")).to_have_text(nasty)
    page.locator("#blob-close").click()
    expect(page.locator("#folder")).to_be_visible()
    page.reload()
    expect(page.locator("#listing")).to_contain_text(nasty)
    assert page.locator("img:not([src^='dashboard/'])").count() == 0


def test_damage_is_shown_with_what_to_do(page: Page, server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/a/rotten", b"12345").status == 201
    blob_id = server.ask("HEAD", "/store/a/rotten").headers["blob-id"]
    (data.path / blob_id / "data.raw").write_bytes(b"12344")
    data.rotten = True
    assert server.ask("GET", "/store/a/rotten").status == 500
    expect(page.locator("#damaged")).to_contain_text("a/rotten")
    expect(page.locator("#damaged")).to_contain_text("upload the blob anew")
    expect(page.locator("#verdict")).to_contain_text("damage")
    page.get_by_role("button", name="Upload or delete").click()
    expect(page.locator("#blob-state")).to_have_text("Damaged")
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#damaged")).not_to_be_visible()
    assert server.ask("GET", "/store/a/rotten").status == 404


def test_a_dead_server_is_told_and_its_return_too(visit: Visit, start_server: StartServer) -> None:
    server = start_server()
    page = opened(visit, server)
    server.kill()
    expect(page.locator("#process-server .word")).to_have_text("No answer")
    expect(page.locator("#verdict")).to_have_text("The server does not answer")
    start_server("-s", f"127.0.0.1:{server.port}")
    expect(page.locator("#process-server .word")).to_have_text("Running")
    expect(page.locator("#process-server")).to_contain_text("crashes1")


def test_a_token_is_asked_for_and_gives_its_rights_and_no_more(
    visit: Visit, start_server: StartServer, tmp_path: Path
) -> None:
    clients = tmp_path / "clients"
    entries = [
        access_file.make_client("ann", "read-write", "", hash_token("secret-of-ann")),
        access_file.make_client("eve", "read-only", "", hash_token("secret-of-eve")),
    ]
    clients.write_text(access_file.HEADER + "".join(map(access_file.entry_text, entries)))
    clients.chmod(0o600)
    server = start_server("--auth-file", str(clients))
    page = visit.page
    page.goto(f"http://127.0.0.1:{server.port}/")
    for name, may_write in (("eve", False), ("ann", True)):
        if not page.locator("#sign-in").is_visible():
            page.click("#token-button")
        page.fill("#sign-in-secret", f"secret-of-{name}")
        page.press("#sign-in-secret", "Enter")
        expect(page.locator("#process-server .word")).to_have_text("Running")
        page.set_input_files("#files", {"name": name, "mimeType": "text/plain", "buffer": b"12345"})
        expect(page.locator("#uploads li").last).to_contain_text("stored" if may_write else "may read")
    search(page, "ann")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_bytes() == b"12345"
    page.locator("#blob-close").click()
    page.reload()
    expect(page.locator("#process-server .word")).to_have_text("Running")  # kept for this tab
    page.click("#token-button")
    page.click("#sign-out")
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#verdict")).to_have_text("Sign in to see how it is")


# Whatever a location may hold; the last ones are what a regular expression, a URL or HTML takes for its own.
NAMES = [
    *GOOD_NAMES,
    *EVIL,
    "line\u2028separator",
    "paragraph\u2029separator",
    "\u202eright to left",
    "1",
    "#1",
]


def test_every_name_is_shown_found_and_deleted(visit: Visit, server: Server) -> None:
    """One name with U+2028 made the page useless for everybody: it said that the server does not answer."""
    page = opened(visit, server)
    for name in NAMES:
        assert server.ask("POST", f"/store/{quote(name)}", name.encode()).status == 201
    server.ask("POST", "/store/last", b"")
    expect(page.locator("#feed button", has_text="last")).to_have_count(3)  # so it has told of all others
    expect(page.locator("#verdict")).to_contain_text("Serving")
    in_feed = set(page.locator("#feed button").all_text_contents())
    assert set(NAMES) <= in_feed
    page.reload()  # and they are in what a new page is told
    expect(page.locator("#feed button", has_text="last")).to_have_count(3)
    expect(page.locator("#listing tr").first).to_be_visible()
    listed = set(page.locator("#listing button").all_text_contents())
    assert {name.split("/")[0] + "/" * ("/" in name) for name in NAMES} <= listed
    for name in NAMES:
        search(page, name)
        expect(page.locator("#blob-title")).to_have_text(name)
        expect(page.locator("#blob-state")).to_have_text("OK")
        page.locator("#blob-delete").click()
        page.locator("#confirm-yes").click()
        expect(page.locator("#blob")).to_be_hidden()
        assert server.ask("GET", f"/store/{quote(name)}").status == 404
    assert visit.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(visit: Visit, server: Server, scheme: str) -> None:
    visit.page.set_viewport_size({"width": 360, "height": 740})
    visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page = opened(visit, server)
    expect(page.locator(".plot canvas")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = map(int, re.findall(r"\d+", background)[:3])
    assert (red + green + blue > 384) == (scheme == "light")
