"""Folders and blobs in a real browser: their addresses, finding, sorting, uploading, deleting."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import FilePayload, Page, expect

from tests.browser.conftest import Visit
from tests.browser.pages import address, blob, folder, names, overview, png
from tests.conftest import StartServer
from tests.http.test_listings import EVIL
from tests.http.test_names import GOOD_NAMES
from tests.support.processes import Server, wait_for


def fill(server: Server, *locations: str, body: bytes = b"12345") -> None:
    for location in locations:
        assert server.ask("POST", f"/store/{quote(location)}", body).status == 201


def search(page: Page, text: str) -> None:
    page.fill("#search-input", text)
    page.press("#search-input", "Enter")


def files(*given: str, body: bytes = b"new") -> list[FilePayload]:
    return [{"name": name, "mimeType": "text/plain", "buffer": body} for name in given]


def test_a_blob_is_uploaded_replaced_and_deleted(visit: Visit, server: Server, tmp_path: Path) -> None:
    first, second = tmp_path / "one.txt", tmp_path / "two.txt"
    first.write_bytes(b"first" * 100_000)
    second.write_bytes(b"second")
    page = folder(visit, server)
    page.fill("#into", "some/where")
    page.set_input_files("#files", first)
    expect(page.locator("#uploads")).to_contain_text("stored")
    assert address(page) == "/blobs/some/where/"  # the list shows what arrived
    expect(page.locator("#listing .arrived")).to_contain_text("one.txt")
    expect(page.locator("#into")).to_have_value("some/where")
    location = "some/where/one.txt"
    assert server.ask("GET", f"/store/{location}").body == first.read_bytes()

    page.get_by_role("link", name="one.txt").click()
    expect(page.locator("#blob-facts")).to_contain_text(hashlib.sha256(first.read_bytes()).hexdigest())
    expect(page.locator("#blob-history")).to_contain_text("Blob Data WR Complete!")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "one.txt"
    assert Path(download.value.path()).read_bytes() == first.read_bytes()

    page.set_input_files("#blob-file", second)
    expect(page.locator("#blob-message")).to_have_text("Replaced.")
    assert server.ask("GET", f"/store/{location}").body == b"second"
    expect(page.locator("#blob-history")).to_contain_text("Blob Updated & Saved!")

    page.get_by_role("button", name="Delete …").last.click()
    expect(page.locator("#confirm-text")).to_contain_text("no undo")
    page.get_by_role("button", name="Cancel").click()
    assert server.ask("GET", f"/store/{location}").status == 200
    page.locator("#blob-delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#listing-empty")).to_be_visible()
    assert server.ask("GET", f"/store/{location}").status == 404


def test_every_folder_and_blob_has_an_address(visit: Visit, server: Server) -> None:
    fill(server, "a/b/one", "a/b/two", "a/three", "four", "a/ä %?#/five")
    page = folder(visit, server)
    assert names(page) == ["a/", "four"]
    page.get_by_role("link", name="a/", exact=True).focus()
    page.keyboard.press("Enter")
    wait_for(lambda: names(page) == ["b/", "ä %?#/", "three"], what="the folder a")
    page.get_by_role("link", name="b/").click()
    wait_for(lambda: names(page) == ["one", "two"], what="the folder b")
    page.get_by_role("link", name="one").click()
    expect(page.locator("#blob-title")).to_have_text("a/b/one")
    assert address(page) == "/blob/a/b/one"
    page.go_back()
    wait_for(lambda: names(page) == ["one", "two"], what="the folder b again")
    page.reload()
    wait_for(lambda: names(page) == ["one", "two"], what="the folder b after a reload")
    page.go_back()
    wait_for(lambda: "three" in names(page), what="the folder a again")
    page.get_by_role("link", name="ä %?#/").click()
    wait_for(lambda: names(page) == ["five"], what="a folder with a name of its own")
    bookmark = page.url
    page.get_by_role("navigation", name="Folder").get_by_role("link", name="All blobs").click()
    wait_for(lambda: names(page) == ["a/", "four"], what="the beginning")
    page.goto(bookmark)
    wait_for(lambda: names(page) == ["five"], what="the bookmark")
    page.locator("#nav-overview").click()
    expect(page.locator("#processes")).to_be_visible()
    expect(page.locator("#view-blobs")).to_be_hidden()


def test_search_answers_beside_its_box(visit: Visit, server: Server) -> None:
    fill(server, "photos/2026/cat.jpg", "photos/2026/car.jpg", "photos/2025/dog.jpg", "phone")
    page = folder(visit, server)
    found = page.locator("#found li")
    page.locator("#search-input").press_sequentially("pho")
    expect(found).to_have_count(2)
    expect(found.first).to_contain_text("photos/")
    page.fill("#search-input", "photos/2026/ca")
    expect(found).to_have_text([re.compile("car.jpg"), re.compile("cat.jpg")])
    page.fill("#search-input", "nothing/like/it")
    page.keyboard.press("Enter")
    expect(page.locator("#search-said")).to_contain_text("Nothing begins with “nothing/like/it”.")
    expect(found).to_have_count(0)
    search(page, "photos/2026")
    wait_for(lambda: names(page) == ["car.jpg", "cat.jpg"], what="the folder that was named")
    search(page, server.ask("HEAD", "/store/phone").headers["blob-id"])
    expect(page.locator("#blob-title")).to_have_text("phone")
    page.go_back()
    search(page, "photos/2025/dog.jpg")
    expect(page.locator("#blob-title")).to_have_text("photos/2025/dog.jpg")


def test_a_list_is_sorted_and_several_are_deleted(visit: Visit, server: Server) -> None:
    for at, name in enumerate(("b", "c", "a", "d")):
        fill(server, f"x/{name}", body=b"1" * (10 - at))
    fill(server, "x/y/z")
    page = folder(visit, server, "x/")
    assert names(page) == ["y/", "a", "b", "c", "d"]
    page.get_by_role("button", name="Size").click()
    assert names(page) == ["y/", "b", "c", "a", "d"]
    page.get_by_role("button", name="Size").click()
    assert names(page) == ["y/", "d", "a", "c", "b"]
    header = page.get_by_role("columnheader").filter(has=page.get_by_role("button", name="Size"))
    expect(header).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Modified").click()
    assert names(page)[1] == "d"

    page.get_by_role("checkbox", name="Select a", exact=True).check()
    page.get_by_role("checkbox", name="Select d", exact=True).check()
    expect(page.locator("#selection-text")).to_have_text("Selected: 2 blobs, 15 bytes")
    # A blob that is written meanwhile is another blob. What was not shown must not be deleted.
    assert server.ask("PUT", "/store/x/d", b"new").status == 200
    page.locator("#delete-selected").click()
    expect(page.locator("#confirm-text")).to_contain_text("x/a")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#listing-wrong")).to_contain_text("1 of 2 were not deleted")
    assert server.ask("GET", "/store/x/a").status == 404
    assert server.ask("GET", "/store/x/d").body == b"new"
    expect(page.locator("#selection")).to_be_hidden()
    page.get_by_role("checkbox", name="Select all").check()
    page.get_by_role("checkbox", name="Select y/").uncheck()
    page.locator("#delete-selected").click()
    expect(page.locator("#confirm-title")).to_have_text("Delete 3 blobs?")
    page.get_by_role("button", name="Delete for good").click()
    wait_for(lambda: names(page) == ["y/"], what="the end of all selected")
    assert server.ask("GET", "/store/x/y/z").status == 200


def test_a_whole_folder_is_deleted(visit: Visit, server: Server) -> None:
    fill(server, "a/one", "a/b/two", "a/b/c/three", "ab", "z")
    page = folder(visit, server)
    page.get_by_role("checkbox", name="Select a/").check()
    expect(page.locator("#selection-text")).to_have_text("Selected: 1 folder")
    page.locator("#delete-selected").click()
    expect(page.locator("#confirm-title")).to_have_text("Delete this folder, with 3 blobs?")
    expect(page.locator("#confirm-text")).to_contain_text("“a/” (15 bytes) will be gone for good")
    fill(server, "a/late")  # the user was not asked about this one
    page.get_by_role("button", name="Delete for good").click()
    page.get_by_role("link", name="a/", exact=True).click()
    wait_for(lambda: names(page) == ["late"], what="the end of all but one")
    assert [server.ask("GET", f"/store/{one}").status for one in ("a/one", "ab", "z")] == [404, 200, 200]


def test_what_was_deleted_is_brought_back(visit: Visit, start_server: StartServer) -> None:
    server = start_server("--keep-deleted", "7d")
    fill(server, "a/one", "a/two")
    page = blob(visit, server, "a/one")
    page.locator("#blob-delete").click()
    expect(page.locator("#confirm-text")).to_contain_text("kept for 7 days")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#done")).to_contain_text("“a/one” was deleted.")
    page.get_by_role("button", name="Bring back").click()
    expect(page.locator("#done")).to_have_text("“a/one” is back.")
    assert server.ask("GET", "/store/a/one").body == b"12345"

    old = server.ask("HEAD", "/store/a/two").headers["blob-id"]
    assert server.ask("PUT", "/store/a/two", b"new").status == 200
    page = folder(visit, server, "a/")
    page.get_by_text("Deleted or replaced here, and kept").click()
    expect(page.locator("#kept-rows tr")).to_have_count(2)
    page.locator("#kept-rows").get_by_role("link", name="two").click()
    expect(page.locator("#blob-state")).to_have_text("Deleted or replaced, and kept")
    expect(page.locator("#blob-facts")).to_contain_text("Kept until")
    assert address(page) == f"/id/{old}"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_bytes() == b"12345"
    page.get_by_role("button", name="Bring back").click()
    expect(page.locator("#confirm-text")).to_contain_text("Another blob is at “a/two” by now.")
    page.get_by_role("button", name="Replace", exact=True).click()
    expect(page.locator("#blob-state")).to_be_hidden()
    assert server.ask("GET", "/store/a/two").body == b"12345"


def test_files_are_dropped_and_what_is_there_is_replaced_only_on_demand(visit: Visit, server: Server) -> None:
    page = folder(visit, server)
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
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    expect(page.locator("#uploads .bad")).to_have_text("Left as it was.")
    assert server.ask("GET", "/store/a%20b%25%3F%23.txt").body == b"one"
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("button", name="Replace", exact=True).click()
    expect(page.locator("#uploads .good").last).to_have_text("replaced")
    assert server.ask("GET", "/store/a%20b%25%3F%23.txt").body == b"two"


def test_of_two_files_that_are_there_each_is_asked_about(visit: Visit, server: Server) -> None:
    fill(server, "one", "two", body=b"old")
    page = folder(visit, server)
    page.set_input_files("#files", files("one", "two"))
    question = page.locator("#confirm-text")
    expect(question).to_contain_text("is there already")
    first = "one" if "“one”" in question.inner_text() else "two"  # quoted: "gone" has a "one", too
    second = "two" if first == "one" else "one"
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    expect(question).to_contain_text(f"“{second}”")
    page.get_by_role("button", name="Replace", exact=True).click()
    expect(page.locator("#uploads .good")).to_have_text("replaced")
    assert server.ask("GET", f"/store/{first}").body == b"old"
    assert server.ask("GET", f"/store/{second}").body == b"new"


def test_all_are_replaced_with_one_answer(visit: Visit, server: Server) -> None:
    given = [f"file-{n}" for n in range(7)]
    fill(server, *given, body=b"old")
    page = folder(visit, server)
    page.set_input_files("#files", files(*given))
    page.get_by_role("button", name="Replace all").click()
    for name in given:
        wait_for(lambda name=name: server.ask("GET", f"/store/{name}").body == b"new", what=name)  # type: ignore[misc]
    expect(page.locator("#confirm")).to_be_hidden()
    page.set_input_files("#files", files("file-0", body=b"newer"))  # the user's answer was only for those
    expect(page.locator("#confirm-text")).to_contain_text("file-0")
    page.locator("#confirm").get_by_role("button", name="Cancel").click()


def test_an_upload_that_failed_is_tried_again(visit: Visit, start_server: StartServer) -> None:
    server = start_server()
    page = folder(visit, server)
    server.kill()
    page.set_input_files("#files", files("late"))
    expect(page.locator("#uploads .bad")).to_contain_text("nothing was stored")
    again = start_server("-s", f"127.0.0.1:{server.port}")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#uploads .good")).to_have_text("stored")
    assert again.ask("GET", "/store/late").body == b"new"


def test_a_large_file_is_not_sent_to_learn_that_it_is_there_or_not_allowed(
    visit: Visit, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("--max-blob-size", "20 MB")
    fill(server, "there", body=b"old")
    page = folder(visit, server)
    for name, size in (("there", 15_000_000), ("large", 30_000_000)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    page.set_input_files("#files", tmp_path / "there")
    expect(page.locator("#confirm-text")).to_contain_text("is there already")
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    page.set_input_files("#files", tmp_path / "large")
    expect(page.locator("#uploads .bad").last).to_contain_text("over the limit")
    text = server.ask("GET", "/metrics").body.decode()
    received = re.search(r'blobkeep_request_body_bytes_total\{method="POST"\} (\S+)', text)
    assert received is not None
    assert float(received[1]) < 30_000_000


def test_a_blob_tells_all_about_itself(visit: Visit, server: Server) -> None:
    picture = png(60, 40)
    headers = {"Content-Type": "image/png", "X-Meta-Camera": "Blobcam 3"}
    assert server.ask("POST", "/store/a/it's%20one.png", picture, headers).status == 201
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = blob(visit, server, "a/it's one.png")
    facts = page.locator("#blob-facts")
    sha256 = hashlib.sha256(picture).hexdigest()
    for fact in (
        "image/png",
        f"{len(picture):,} bytes" if len(picture) > 1023 else "bytes",
        sha256,
        "Blobcam 3",
    ):
        expect(facts).to_contain_text(fact)
    page.get_by_role("button", name="Copy the SHA-256").click()
    assert page.evaluate("navigator.clipboard.readText()") == sha256
    page.get_by_role("button", name="Copy the address").click()
    url = page.evaluate("navigator.clipboard.readText()")
    assert url == f"http://127.0.0.1:{server.port}/store/a/it%27s%20one.png"
    page.get_by_role("button", name="Copy the curl line").click()
    assert page.evaluate("navigator.clipboard.readText()") == f"curl -fO '{url}'"
    expect(page.get_by_role("img", name="The image, 60 by 40 pixels")).to_be_visible()
    middle = "document.querySelector('#preview canvas').getContext('2d').getImageData(30, 20, 1, 1).data[2]"
    assert page.evaluate(middle) == 128
    raw = page.locator("#blob-headers")
    expect(raw).to_be_hidden()
    page.get_by_text("Header fields of the answer").click()
    expect(raw).to_contain_text("repr-digest")


def test_a_preview_is_only_ever_pixels_or_text(visit: Visit, server: Server) -> None:
    evil = b"<script>alert(1)</script><img src=x onerror=alert(1)>"
    for name, kind in (("a.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.png", "image/png")):
        assert server.ask("POST", f"/store/{name}", evil, {"Content-Type": kind}).status == 201
    assert server.ask("POST", "/store/long.txt", b"x" * 100_000, {"Content-Type": "text/plain"}).status == 201
    assert server.ask("POST", "/store/empty", b"", {"Content-Type": "text/plain"}).status == 201
    assert server.ask("POST", "/store/a.pdf", b"%PDF", {"Content-Type": "application/pdf"}).status == 201
    for name in ("a.html", "a.svg"):
        page = blob(visit, server, name)
        expect(page.locator("#preview pre")).to_have_text(evil.decode())
    page = blob(visit, server, "a.png")
    expect(page.locator("#preview")).to_contain_text("cannot be read as what its type says")
    page = blob(visit, server, "long.txt")
    expect(page.locator("#preview")).to_contain_text("The first 64 KiB.")
    assert len(page.locator("#preview pre").inner_text()) == 64 << 10
    expect(blob(visit, server, "empty").locator("#preview")).to_contain_text("It is empty.")
    expect(blob(visit, server, "a.pdf").locator("#preview")).to_contain_text("No preview of application/pdf.")
    assert page.locator("#preview :is(img, iframe, script, object, embed)").count() == 0


def test_what_users_choose_is_only_ever_text(visit: Visit, server: Server) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    page = overview(visit, server)
    fill(server, nasty)
    expect(page.locator("#feed")).to_contain_text(nasty)
    page.locator("#nav-blobs").click()
    search(page, nasty)
    expect(page.locator("#blob-title")).to_have_text(nasty)
    page.go_back()
    expect(page.locator("#listing")).to_contain_text(nasty)
    assert page.locator("img:not([src^='dashboard/'])").count() == 0


# All that a location may contain. The last ones have a meaning in a regular expression, a URL or HTML.
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
    """Before, one name with U+2028 made the page useless for everybody: it said that the server did not
    answer.
    """
    page = overview(visit, server)
    fill(server, *NAMES, body=b"1")
    fill(server, "last", body=b"")
    expect(page.locator("#feed").get_by_role("link", name="last", exact=True)).to_have_count(1)
    expect(page.locator("#verdict")).to_contain_text("Serving")
    assert set(NAMES) <= set(page.locator("#feed a").all_text_contents())
    page.reload()  # and a new page gets them, too
    expect(page.locator("#feed").get_by_role("link", name="last", exact=True)).to_have_count(1)
    page = folder(visit, server)
    assert {name.split("/")[0] + "/" * ("/" in name) for name in NAMES} <= set(names(page))
    for name in NAMES:
        page.evaluate("place => { location.hash = place }", f"#/blob/{quote(name)}")
        expect(page.locator("#blob-title")).to_have_text(name)
        page.locator("#blob-delete").click()
        page.get_by_role("button", name="Delete for good").click()
        expect(page.locator("#view-blob")).to_be_hidden()
        assert server.ask("GET", f"/store/{quote(name)}").status == 404
    assert visit.errors == []
