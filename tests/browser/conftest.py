"""A real browser, driven by playwright: Chromium's headless shell, or the system's full Chromium.

Both use the same code for pages. The headless shell needs a quarter less CPU, since it has no windows and
menus. Tests are skipped if there is neither.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support.programs import find, need

# Bounds for waits that never end. They are large, since a busy machine is slow.
PATIENCE_MS = 120_000
expect.set_options(timeout=PATIENCE_MS)
# The address bar draws its suggestions in a page and a process of its own for each window, which was more
# than half of a window's cost. The other features are those that playwright disables, since only the last
# list counts.
FEATURES_LEFT_OUT = [
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup"),
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *("HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding"),
    *("ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints"),
    *("NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch"),
]
FLAGS = [
    f"--disable-features={','.join(FEATURES_LEFT_OUT)}",
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser. It does not live for the session, since while playwright runs nothing else can call
    asyncio.run().
    """
    chromium = find("chromium-headless-shell") or need("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield started
        started.close()


class Visit:
    """A page, and what went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.on("dialog", lambda dialog: self.errors.append(f"a dialog: {dialog.message}"))

    def _said(self, message: ConsoleMessage) -> None:
        # The browser itself logs this for every answer of 400 and above, which the page handles.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(f"{message.type}: {message.text}")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A new page without any stored state. Fails the test if the page had an error, or sent a request to
    another host.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    made = Visit(context.new_page())
    yield made
    context.close()
    assert not made.errors
    assert len(made.hosts) <= 1
