"""Every view at three sizes, in light and dark: nothing is cut, and axe finds nothing (WCAG 2.1 AA)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.pages import access, blob, folder, opened, overview, png, sign_in
from tests.conftest import StartServer
from tests.support.processes import Server

SIZES = {"phone": (360, 740), "tablet": (820, 1100), "desk": (1280, 900)}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
LONG = "a/" + "folder-with-a-long-name/" * 3 + "x" * 120 + ".png"

# What is wider than its box and not scrolled: text that nobody can read to its end.
CUT = """() => [...document.querySelectorAll("body *")].filter((one) => {
  const style = getComputedStyle(one);
  return one.checkVisibility() && !one.closest(".off-screen, .skip, .plot, meter, progress, select, input")
    && one.scrollWidth > one.clientWidth + 1 && style.display !== "inline"
    && !["auto", "scroll"].includes(style.overflowX);
}).map((one) => `${one.tagName}#${one.id}.${one.className}: ${one.textContent.slice(0, 40)}`)"""


def check(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_view_fits_and_can_be_read(
    visit: Visit, server: Server, size: str, scheme: Literal["light", "dark"]
) -> None:
    width, height = SIZES[size]
    visit.page.set_viewport_size({"width": width, "height": height})
    visit.page.emulate_media(color_scheme=scheme)
    fields = {"Content-Type": "image/png", "X-Meta-Comment": "c" * 200}
    assert server.ask("POST", f"/store/{LONG}", png(300, 200), fields).status == 201
    assert server.ask("POST", "/store/a/b", b"1").status == 201
    assert server.ask("PUT", "/store/a/b", b"2").status == 200
    assert server.ask("DELETE", "/store/a/b").status == 200

    page = overview(visit, server)
    expect(page.locator("#feed")).to_contain_text("Deleted")
    expect(page.locator(".plot canvas")).to_have_count(4)
    check(page, width)
    red, green, blue = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
    )
    assert (red + green + blue > 384) == (scheme == "light")

    page = folder(visit, server, LONG.rpartition("/")[0] + "/")
    page.get_by_role("checkbox", name="Select all").check()
    page.fill("#search-input", "a/fold")
    expect(page.locator("#found li")).to_have_count(1)
    check(page, width)
    page.locator("#delete-selected").click()
    expect(page.locator("#confirm")).to_be_visible()
    check(page, width)

    page = blob(visit, server, LONG)
    expect(page.locator("#preview canvas")).to_be_visible()
    page.get_by_text("Header fields of the answer").click()
    check(page, width)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_of_a_server_that_is_away_can_be_read_too(
    visit: Visit, start_server: StartServer, scheme: Literal["light", "dark"]
) -> None:
    server = start_server()
    visit.page.emulate_media(color_scheme=scheme)
    page = overview(visit, server)
    server.kill()
    expect(page.locator("#as-of")).to_be_visible()
    check(page, 1280)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_window_that_asks_who_one_is_can_be_read_too(
    visit: Visit, start_server: StartServer, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    server = start_server("--auth-file", str(access(tmp_path / "clients", ("ann", "read-write", ""))))
    visit.page.emulate_media(color_scheme=scheme)
    page = opened(visit, server)
    sign_in(page, "guess")
    expect(page.locator("#sign-in-wrong")).to_be_visible()
    check(page, 1280)
    sign_in(page, "secret-of-ann")
    expect(page.locator("#who")).to_be_visible()
    check(page, 1280)
