"""Pages that spin, hoard or kill: they end in time, alone, and the browser serves the next one."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.browser.observe import running
from tests.browser.site import Site
from tidegate.adapters.chromium.browser import ChromiumBrowser
from tidegate.adapters.chromium.processes import ProcessTree, kill
from tidegate.errors import WorkerCrashed, WorkTimeout
from tidegate.ports.browser import PageRequest, RenderFormat
from tidegate.ports.egress_guard import Passage

pytestmark = [pytest.mark.anyio, pytest.mark.needs("chromium", "playwright")]

GENEROUS_US = 30_000_000


async def render(
    browser: ChromiumBrowser, passage: Passage, url: str, *, timeout_us: int = GENEROUS_US
) -> bytes:
    page = await browser.render(PageRequest(url=url), passage, timeout_us=timeout_us)
    return page.content


def renderers(browser: ChromiumBrowser) -> set[int]:
    return set(ProcessTree(leader=browser.pid, uid=None).renderers())


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("while (true);", "html"),
        ("while (true);", "text"),
        ("while (true);", "screenshot"),
        ("while (true);", "pdf"),
        ("onbeforeunload = onunload = () => { while (true); }; while (true);", "html"),
        ("(function loop() { Promise.resolve().then(loop); })()", "html"),
        ("while (true) alert(1);", "html"),
        ("/(a+)+$/.test('a'.repeat(60) + 'b')", "html"),
    ],
)
async def test_a_page_that_spins_ends_by_its_deadline(
    browser: ChromiumBrowser, passage: Passage, site: Site, script: str, kind: RenderFormat
) -> None:
    # With "commit" the page is read while it spins, which has no time limit of its own.
    url = site.put("/spin", f"<script>{script}</script>")
    request = PageRequest(url=url, format=kind, wait_until="commit")
    began = time.monotonic()
    with pytest.raises(WorkTimeout):
        await browser.render(request, passage, timeout_us=500_000)
    assert time.monotonic() - began < 10
    assert browser.alive
    assert b"good" in await render(browser, passage, site.put("/good", "good"))


async def test_a_server_that_never_answers(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    with pytest.raises(WorkTimeout):
        await render(browser, passage, site.put("/mute", mute=True), timeout_us=500_000)
    assert browser.alive


async def test_cancellation_closes_the_context_at_once(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    before = renderers(browser)
    url = site.put("/spin", "<script>while (true);</script>")
    for delay_s in (0.0, 0.01, 0.05, 1.0):
        task = asyncio.create_task(render(browser, passage, url))
        await asyncio.sleep(delay_s)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 5
        assert not browser._parts.chromium.contexts
    assert browser.alive
    async with asyncio.timeout(10):
        while renderers(browser) - before:
            await asyncio.sleep(0.02)


async def test_a_killed_browser_is_noticed_at_once(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    url = site.put("/mute", mute=True)
    task = asyncio.create_task(render(browser, passage, url))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    os.kill(browser.pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashed):
        await task
    assert time.monotonic() - began < 1.5
    assert not browser.alive
    assert browser.memory_bytes is None
    with pytest.raises(WorkerCrashed):
        await render(browser, passage, url)
    await browser.close()
    assert not running(browser.pid)


async def test_a_killed_renderer_fails_its_page_alone(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    task = asyncio.create_task(render(browser, passage, site.put("/mute", mute=True)))
    await asyncio.sleep(0.5)
    for pid in renderers(browser):
        kill(pid)
    with pytest.raises(WorkerCrashed):
        await task
    assert browser.alive
    assert b"fine" in await render(browser, passage, site.put("/fine", "fine"))


@pytest.mark.parametrize(
    "script",
    [
        "const all = []; while (true) all.push({a: [1, 2, 3], b: all.length})",
        "const all = []; while (true) all.push(new Uint8Array(2 ** 24).fill(1))",
        "setInterval(() => document.body.append(...Array.from({length: 20000}, () => "
        "Object.assign(document.createElement('p'), {textContent: Math.random()}))), 0)",
    ],
    ids=["heap", "arrays", "document"],
)
async def test_a_page_that_hoards_memory_is_ended(
    browser: ChromiumBrowser, passage: Passage, site: Site, script: str
) -> None:
    # The image keeps the page from being done before the script has had its fill.
    site.put("/mute", mute=True)
    body = f"<body><script>{script}</script><img src=/mute>"
    with pytest.raises(WorkerCrashed):
        await render(browser, passage, site.put("/bomb", body), timeout_us=60_000_000)
    assert browser.alive
    assert b"fine" in await render(browser, passage, site.put("/fine", "fine"))
