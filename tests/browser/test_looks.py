"""Every view at three sizes, in light and dark: nothing is cut, and axe finds nothing (WCAG 2.1 AA).

The ordinary run has each view twice, small and dark, large and light; `make slow` all six.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.pages import access, blob, folder, opened, overview, png, sign_in
from tests.conftest import StartServer

SIZES = {"phone": (360, 740), "tablet": (820, 1100), "desk": (1280, 900)}
Look = tuple[str, Literal["light", "dark"]]
FEW: list[Look] = [("phone", "dark"), ("desk", "light")]
ALL: list[Look] = [(size, scheme) for size in SIZES for scheme in ("dark", "light")]
LOOKS = pytest.mark.parametrize("looks", [FEW, pytest.param(ALL, marks=pytest.mark.slow)], ids=["few", "all"])
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
LONG = "a/" + "folder-with-a-long-name/" * 3 + "x" * 120 + ".png"

# Elements that are wider than their box and cannot be scrolled, so that their text is cut off.
CUT = """() => [...document.querySelectorAll("body *")].filter((one) => {
  const style = getComputedStyle(one);
  return one.checkVisibility() && !one.closest(".off-screen, .skip, .plot, meter, progress, select, input")
    && one.scrollWidth > one.clientWidth + 1 && style.display !== "inline"
    && !["auto", "scroll"].includes(style.overflowX);
}).map((one) => `${one.tagName}#${one.id}.${one.className}: ${one.textContent.slice(0, 40)}`)"""

# One of our words that is broken in two, such as "Sel-ect", since its box is too narrow.
BROKEN = """() => {
  const found = [];
  const ours = "button, th, dt, dd, label, summary, nav#nav a, .word, .pill, h1, h2, h3, #selection-text";
  for (const one of document.querySelectorAll(ours)) {
    if (!one.checkVisibility() || one.closest(".off-screen, .skip, .plot, #server-facts")
        || one.matches("h2.location")) continue;
    const walker = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      for (const word of node.data.matchAll(/[A-Za-z0-9,.]+/g)) {
        const range = document.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map((rect) => rect.top)).size > 1) found.push(word[0]);
      }
    }
  }
  return found;
}"""


def check(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []
    assert page.evaluate(BROKEN) == []
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


def check_in(looks: list[Look], page: Page) -> None:
    """Run `check` at each size, on a page that does not change meanwhile. The last size, a desktop's,
    remains.
    """
    for size, scheme in looks:
        width, height = SIZES[size]
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        check(page, width)
        color = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
        assert (sum(page.evaluate(color)) > 384) == (scheme == "light")


@LOOKS
def test_every_view_fits_and_can_be_read(visit: Visit, start_server: StartServer, looks: list[Look]) -> None:
    server = start_server("--keep-deleted", "7d")
    fields = {"Content-Type": "image/png", "X-Meta-Comment": "c" * 200}
    assert server.ask("POST", f"/store/{LONG}", png(300, 200), fields).status == 201
    assert server.ask("POST", "/store/a/b", b"1").status == 201
    assert server.ask("PUT", "/store/a/b", b"2").status == 200
    assert server.ask("DELETE", "/store/a/b").status == 200

    page = overview(visit, server)
    expect(page.locator("#feed")).to_contain_text("Deleted")
    expect(page.locator(".plot canvas")).to_have_count(4)
    check_in(looks, page)

    page = folder(visit, server)
    page.get_by_text("Deleted or replaced here, and kept").click()
    expect(page.locator("#kept-rows tr")).to_have_count(2)
    check_in(looks, page)

    page = folder(visit, server, LONG.rpartition("/")[0] + "/")
    page.get_by_role("checkbox", name="Select all").check()
    page.fill("#search-input", "a/fold")
    expect(page.locator("#found li")).to_have_count(1)
    check_in(looks, page)
    page.locator("#delete-selected").click()
    expect(page.locator("#confirm")).to_be_visible()
    check_in(looks, page)

    page = blob(visit, server, LONG)
    expect(page.locator("#preview canvas")).to_be_visible()
    page.get_by_text("Header fields of the answer").click()
    check_in(looks, page)


@LOOKS
def test_figures_of_a_server_that_is_away_can_be_read_too(
    visit: Visit, start_server: StartServer, looks: list[Look]
) -> None:
    server = start_server()
    assert server.ask("POST", f"/store/{LONG}", b"1").status == 201
    page = overview(visit, server)
    expect(page.locator("#feed")).to_contain_text("Created")
    server.kill()
    expect(page.locator("#as-of")).to_be_visible()
    check_in(looks, page)


@LOOKS
def test_the_window_that_asks_who_one_is_can_be_read_too(
    visit: Visit, start_server: StartServer, tmp_path: Path, looks: list[Look]
) -> None:
    clients = ("ann", "read-write", ""), ("team", "read-write", "team/with/a/long/prefix/")
    server = start_server("--auth-file", str(access(tmp_path / "clients", *clients)))
    page = opened(visit, server)
    sign_in(page, "guess")
    expect(page.locator("#sign-in-wrong")).to_be_visible()
    check_in(looks, page)
    sign_in(page, "secret-of-team")
    expect(page.locator("#listing-empty")).to_be_visible()
    check_in(looks, page)
    assert page.locator("#path a").count() == 0  # what the client may not list is not offered
    ann = {"Authorization": "Bearer secret-of-ann"}
    assert server.ask("POST", "/store/team/with/a/long/prefix/a.txt", b"1", ann).status == 201
    page.locator("#nav-blobs").click()
    page.reload()
    page.get_by_role("link", name="a.txt").click()
    page.get_by_role("button", name="Make a link").click()
    expect(page.locator("#link-made")).to_contain_text("Whoever has it")
    check_in(looks, page)


def test_times_of_a_plot_lie_within_it_and_apart(visit: Visit, start_server: StartServer) -> None:
    page = overview(visit, start_server())
    made = page.evaluate("""async () => {
        const { times } = await import(new URL("dashboard/plots.js", document.baseURI));
        const all = [];
        for (const span of [60, 61, 107, 262, 299, 300, 599, 600])
            for (const since of [1795875600, 1795875601, 1795875737])
                for (const width of [120, 190, 400, 900])
                    all.push([since, since + span, width, times(since, since + span, width)]);
        return all;
    }""")
    for since, until, width_px, times in made:
        assert times or width_px < 150, (since, until, width_px)
        assert all(since <= one <= until for one in times), (since, until, width_px)
        steps = {after - before for before, after in itertools.pairwise(times)}
        assert all(step / (until - since) * width_px >= 70 for step in steps), (since, until, width_px)
