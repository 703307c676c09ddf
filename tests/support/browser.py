"""A real Chromium for tests, driven through its own protocol, and a record of its complaints.

Needs a Chromium of the machine; without one a test says so and fails. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from playwright.async_api import Browser, Page, async_playwright

from tools.prerequisites import chromium, chromium_gap

FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEADLINE_MS: Final = 20_000
Scheme = Literal["light", "dark"]


class Watched:
    """A page, and everything that its browser complained about: errors, refusals, failures."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda said: self._note(said.type, said.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("crash", lambda _: self._note("error", "the page crashed"))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    async def value(self, expression: str) -> Any:
        """What an expression is worth in the page; asked from outside its policy.

        Raises:
            AssertionError: it threw.
        """
        inspector = await self.page.context.new_cdp_session(self.page)
        wanted = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = await inspector.send("Runtime.evaluate", wanted)
        await inspector.detach()
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {})
            raise AssertionError(thrown.get("description", "the expression threw"))
        return answer["result"].get("value")


@asynccontextmanager
async def chromium_running() -> AsyncIterator[Browser]:
    """A browser without a profile; pages of different tests share nothing in it."""
    path = chromium()
    assert path, chromium_gap()
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def browsing(
    browser: Browser, *, width: int = 1280, height: int = 900, scheme: Scheme = "light"
) -> AsyncIterator[Watched]:
    """A page with cookies and storage of its own."""
    page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(DEADLINE_MS)
    try:
        yield Watched(page)
    finally:
        await page.close()
