"""No way out of a page reaches this machine, and each of them would without the guard.

Chromium ignores unknown switches in silence and grows new ways out, so this runs at every update.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from tests.browser.site import Site
from tests.browser.victim import Victim
from tests.browser.ways import INSIDE, TOPS, lay_out
from tidegate.adapters.chromium.binary import find_binary
from tidegate.adapters.chromium.browser import ChromiumBrowser
from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.domain.egress import EgressPolicy
from tidegate.errors import EgressRefused, UpstreamFailed
from tidegate.ports.browser import PageRequest
from tidegate.ports.egress_guard import Passage, Refusal

pytestmark = [pytest.mark.anyio, pytest.mark.needs("chromium", "playwright")]

DEADLINE_US = 60_000_000
# Blocked by switches before the guard sees them, or not HTTP, so no refusal is logged.
SILENT = {
    "shared_worker",
    "shared_worker_websocket",
    "window_open",
    "window_open_noopener",
    "window_blank_fetch",
    "form_blank",
    "webrtc_stun",
    "webrtc_turn",
    "webtransport",
}


def way_of(refusal: Refusal) -> str:
    return refusal.url.rpartition("/")[2].rstrip("?")


@pytest.fixture
async def victim() -> AsyncIterator[Victim]:
    async with Victim() as victim:
        yield victim


async def came(ways: Callable[[], set[str]], expected: set[str]) -> set[str]:
    """Wait for the expected ways to be tried, and return those that were not."""
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while not expected <= ways():
                await asyncio.sleep(0.05)
    return expected - ways()


async def test_without_the_guard_every_way_leads_out(site: Site, victim: Victim) -> None:
    from playwright.async_api import async_playwright

    urls = lay_out(site, victim)
    async with async_playwright() as playwright:
        # The test's own pages, so neither sandbox nor user matters here.
        browser = await playwright.chromium.launch(
            executable_path=find_binary(None), chromium_sandbox=False
        )
        context = await browser.new_context()
        for url in urls.values():
            page = await context.new_page()
            await page.goto(url, wait_until="commit")
        missed = await came(lambda: victim.heard, INSIDE | set(TOPS))
        await browser.close()
    assert missed == set()


async def test_with_the_guard_nothing_leads_out(
    browser: ChromiumBrowser, passage: Passage, site: Site, victim: Victim
) -> None:
    done = asyncio.Event()
    request = PageRequest(url=lay_out(site, victim, until=done)["inside"])
    work = asyncio.create_task(browser.render(request, passage, timeout_us=DEADLINE_US))
    # Chromium asks for a tunnel per WebSocket, which knows no path.
    loud = {way for way in INSIDE - SILENT if "websocket" not in way}
    missed = await came(lambda: {way_of(refusal) for refusal in passage.refusals}, loud)
    # Time for the silent ones, too; without the guard they need half a second.
    await asyncio.sleep(2)
    done.set()
    assert (await work).title == "everything"
    assert (victim.heard, victim.connections, victim.packets) == (set(), 0, 0)
    assert missed == set()


@pytest.mark.parametrize("way", TOPS)
async def test_the_guard_holds_the_top_frame(
    browser: ChromiumBrowser, passage: Passage, site: Site, victim: Victim, way: str
) -> None:
    url = lay_out(site, victim)[way]
    request = PageRequest(url=url, wait_until="networkidle")
    with pytest.raises(EgressRefused):
        await browser.render(request, passage, timeout_us=DEADLINE_US)
    assert (victim.heard, victim.connections, victim.packets) == (set(), 0, 0)


async def test_files_stay_closed(browser: ChromiumBrowser, passage: Passage, site: Site) -> None:
    url = site.put("/to-file", status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(UpstreamFailed):
        await browser.render(PageRequest(url=url), passage, timeout_us=DEADLINE_US)
    script = (
        "const tell = error => document.title += `${error},`;"
        "fetch('file:///etc/passwd').then(() => tell('read'), () => tell('closed'));"
        "location = 'file:///etc/passwd'"
    )
    body = f"<title>x,</title><iframe src=file:///etc/passwd></iframe><script>{script}</script>"
    request = PageRequest(url=site.put("/from-file", body), wait_until="networkidle")
    page = await browser.render(request, passage, timeout_us=DEADLINE_US)
    assert page.title == "x,closed,"
    assert b"root:" not in page.content


async def test_a_name_is_resolved_by_the_guard_alone(
    browser: ChromiumBrowser, site: Site, victim: Victim
) -> None:
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    guard = FilteringProxy(EgressPolicy.parse(f"127.0.0.1:{site.port}"), resolve=resolve)
    await guard.start()
    passage = guard.open("acme")
    try:
        inside = f"http://rebound.example:{victim.http_port}/"
        url = site.put("/rebound", f"<title>whole</title><img src={inside}>")
        page = await browser.render(PageRequest(url=url), passage, timeout_us=DEADLINE_US)
        assert page.title == "whole"
        assert "rebound.example" in asked
        assert [refusal.url for refusal in passage.refusals] == [inside]
        assert victim.connections == 0
    finally:
        passage.close()
        await guard.stop()
