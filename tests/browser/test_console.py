"""The console in a real Chromium: it loads under its policy, lives, and says when it does not."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect
from timeball import AsyncClient

from tests.support import dev_tasks
from tests.support.browser import DEADLINE_MS, Scheme, browsing, chromium_running
from tests.support.console_world import VIEWER_KEY, api_keys, console_world
from tests.support.dev_server import DevServer, ending
from timeball_server.core.ids import NodeId
from timeball_server.ports.coordination import Member, Role

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
expect.set_options(timeout=DEADLINE_MS)
HOSTILE = "<img src=x onerror=document.title='owned'>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium_running() as running:
        yield running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def dev_server(folder: Path) -> tuple[DevServer, str]:
    """A development server that keeps its port over restarts, and where its console is."""
    where = f"127.0.0.1:{free_port()}"
    return DevServer(folder, http=("--http", where)), f"http://{where}/console"


def tile(page: Page, name: str) -> Locator:
    return page.locator(".tile", has_text=name).locator(".figure")


def row(page: Page, section: str, name: str) -> Locator:
    return page.locator(f"#{section} tbody tr", has=page.get_by_role("rowheader", name=name))


async def test_it_loads_without_a_complaint_and_moves_when_tasks_run(
    browser: Browser, tmp_path: Path
) -> None:
    server, url = dev_server(tmp_path)
    with ending(server):
        address = await asyncio.to_thread(server.start)
        async with browsing(browser) as watched, AsyncClient(address) as client:
            page = watched.page
            answer = await page.goto(url)
            assert answer is not None
            assert "default-src 'none'" in (await answer.all_headers())["content-security-policy"]
            await expect(page.locator("#answer")).to_have_text("On time")
            await expect(page).to_have_title("On time · Timeball console")
            await expect(tile(page, "Started")).to_have_text("0/s")
            await expect(row(page, "executors", "executor-1")).to_contain_text("it.echo")
            await asyncio.gather(
                *(client.submit(dev_tasks.echo.name, {"value": "x"}) for _ in range(60))
            )
            await expect(tile(page, "Started")).not_to_have_text("0/s")
            await expect(tile(page, "Created")).not_to_have_text("0/s")
            await expect(tile(page, "Lateness p99")).to_have_text(re.compile(r"^\d+ ms$"))
            starts = page.locator("#nodes tbody tr td").nth(5)
            await expect(starts).to_have_text("60")
            await expect(page.locator("#throughput .line.first").last).to_have_attribute(
                "d", re.compile("L")
            )
            await client.submit("nobody.serves", {"value": "x"})
            await expect(page.locator("#answer")).to_have_text("Late")
            await expect(page.locator("#reasons")).to_contain_text("1 due task in shard")
            await expect(page.locator("#reasons")).to_contain_text(
                "no executor serves the handlers"
            )
            await expect(page).to_have_title("Late · Timeball console")
            assert watched.complaints == []


async def test_it_says_that_no_news_comes_and_recovers_by_itself(
    browser: Browser, tmp_path: Path
) -> None:
    server, url = dev_server(tmp_path)
    with ending(server):
        await asyncio.to_thread(server.start)
        async with browsing(browser) as watched:
            page = watched.page
            await page.goto(url)
            await expect(page.locator("#answer")).to_have_text("On time")
            await expect(page.locator("#banner")).to_be_hidden()
            server.kill()
            await expect(page.locator("#banner")).to_be_visible()
            await expect(page.locator("#banner")).to_contain_text("No news for")
            await expect(page.locator("#banner")).to_contain_text("What you see is from")
            await expect(page).to_have_title("No news · Timeball console")
            assert "stale" in (await page.locator("body").get_attribute("class") or "")
            await asyncio.to_thread(server.start)
            await expect(page.locator("#banner")).to_be_hidden()
            await expect(page).to_have_title("On time · Timeball console")
            assert await page.locator("body").get_attribute("class") == ""
            assert all("ERR_" in each for each in watched.complaints)  # the broken connection's


async def test_names_from_the_cluster_are_text_and_nothing_else(browser: Browser) -> None:
    hostile = Member(
        role=Role.EXECUTOR,
        node=NodeId(f"red-{HOSTILE}"),
        address="127.0.0.1:1",
        handlers=(HOSTILE, "</td><script>document.title='owned'</script>"),
        labels=(("region", HOSTILE),),
        slots=3,
        version=HOSTILE,
    )
    async with console_world() as world, browsing(browser) as watched:
        await world.add_node("east")
        await world.add_member(hostile)
        page = watched.page
        await page.goto(f"http://{world.http}/console")
        red = row(page, "executors", "red-")
        await expect(red.locator("th")).to_have_text(f"red-{HOSTILE}")
        await expect(red).to_contain_text("</td><script>")
        await expect(red).to_contain_text(f"region={HOSTILE}")
        await expect(page.locator("main img, main script, main iframe")).to_have_count(0)
        assert "owned" not in await page.title()
        assert watched.complaints == []
        with pytest.raises(AssertionError, match="TrustedHTML"):
            await watched.value(f"document.body.innerHTML = {HOSTILE!r}")
        with pytest.raises(AssertionError, match="TrustedScriptURL"):
            await watched.value("document.createElement('script').src = 'data:,x'")


async def test_a_shard_without_an_owner_is_said_and_so_is_its_return(browser: Browser) -> None:
    async with console_world() as world, browsing(browser) as watched:
        page = watched.page
        await page.goto(f"http://{world.http}/console")
        await expect(page.locator("#answer")).to_have_text("Late")
        await expect(page.locator("#reasons")).to_contain_text(
            re.compile(r"shards 0, 1, 2 and 1 more have no owner for at least \d+ s")
        )
        await expect(page.locator("#reasons")).to_contain_text("no scheduler node is alive")
        await expect(page.locator("#nodes")).to_contain_text("nothing can start")
        await expect(row(page, "shards", "0")).to_contain_text("nobody")
        await world.add_node("east")
        await expect(page.locator("#answer")).to_have_text("On time")
        await expect(row(page, "shards", "0")).to_contain_text("serving")
        await expect(row(page, "shards", "0")).to_contain_text("first assignment")
        await expect(row(page, "coordinators", "front")).to_contain_text("leads, shows this page")
        await world.nodes["east"].stop()
        await expect(page.locator("#answer")).to_have_text("Late")
        await expect(page.locator("#reasons")).to_contain_text(
            re.compile(r"have no owner for \d+ s")
        )
        assert watched.complaints == []


async def test_where_keys_are_asked_for_one_signs_in_and_out(browser: Browser) -> None:
    async with console_world(api_keys()) as world, browsing(browser) as watched:
        await world.add_node("east")
        page = watched.page
        await page.goto(f"http://{world.http}/console")
        await expect(page.get_by_label("API key")).to_be_focused()
        await expect(page.locator("#picture")).to_be_hidden()
        assert watched.complaints == []
        await page.get_by_label("API key").fill("tb.viewer.wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#refused")).to_contain_text("no key that counts here")
        await page.get_by_label("API key").fill(VIEWER_KEY)
        await page.keyboard.press("Enter")
        await expect(page.locator("#answer")).to_have_text("On time")
        await expect(page.locator("#sign-in")).to_be_hidden()
        assert await watched.value("document.cookie") == ""
        await page.reload()
        await expect(page.locator("#answer")).to_have_text("On time")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key")).to_be_visible()
        await page.reload()
        await expect(page.get_by_label("API key")).to_be_visible()
        assert VIEWER_KEY not in await page.content()


CONTRASTS = """
(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((each) => {
      const share = each / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = {};
  for (const place of ["#answer", "#reasons li", "#about", ".tile dt", ".figure", ".note", ".tick",
    "thead th", "tbody th", "tbody td .text", "h2", "footer p", "[data-mark=ok]", "[data-mark=bad]",
    ".legend", "#memory"]) {
    const node = document.querySelector(place);
    if (!node) continue;
    const style = getComputedStyle(node);
    const ink = node instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(node))].sort((x, y) => y - x);
    found[place] = (a + 0.05) / (b + 0.05);
  }
  return found;
})()
"""
STRUCTURE = """
(() => ({
  lang: document.documentElement.lang,
  headings: [...document.querySelectorAll("h1, h2")].map((each) => each.tagName).join(""),
  mains: document.querySelectorAll("main").length,
  tables: [...document.querySelectorAll("table")].map((table) => ({
    caption: table.caption?.textContent ?? "",
    heads: [...table.tHead.rows[0].cells].every((each) => each.matches("th[scope=col]")),
    rows: [...table.tBodies[0].rows].every((each) => each.cells[0].scope === "row"),
    reached: table.parentElement.tabIndex === 0 && table.parentElement.role === "region",
  })),
  charts: [...document.querySelectorAll("svg[role=img]")].map((each) => each.ariaLabel.length > 20),
  images: [...document.images].every((each) => each.hasAttribute("alt")),
  unlabelled: [...document.querySelectorAll("input, button")].filter(
    (each) => !each.labels?.length && !each.textContent.trim()).length,
  ids: new Set([...document.querySelectorAll("[id]")].map((each) => each.id)).size
    === document.querySelectorAll("[id]").length,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
}))()
"""


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 320), ("dark", 2400)]
)
async def test_everybody_can_read_it(browser: Browser, scheme: Scheme, width: int) -> None:
    async with console_world() as world, browsing(browser, scheme=scheme, width=width) as watched:
        await world.add_node("east")
        red = Member(role=Role.EXECUTOR, node=NodeId("red"), address="127.0.0.1:1",
                     handlers=tuple(f"a.quite.long.handler.name.{each}" for each in range(30)),
                     slots=3)  # fmt: skip
        await world.add_member(red)
        page = watched.page
        await page.goto(f"http://{world.http}/console")
        await expect(row(page, "shards", "0")).to_contain_text("serving")
        await expect(row(page, "executors", "red")).to_be_visible()
        contrasts = await watched.value(CONTRASTS)
        assert len(contrasts) >= 13
        assert {place: each for place, each in contrasts.items() if each < 4.5} == {}
        found = await watched.value(STRUCTURE)
        assert found.pop("tables") == [
            {"caption": caption, "heads": True, "rows": True, "reached": True}
            for caption in ("Shards", "Scheduler nodes", "Executors", "Coordinators")
        ]
        assert found == {
            "lang": "en", "headings": "H1" + 7 * "H2", "mains": 1, "charts": [True, True],
            "images": True,
            "unlabelled": 0, "ids": True, "wide": 0,
        }  # fmt: skip
        assert watched.complaints == []
