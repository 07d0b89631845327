"""What a real Chromium makes of pages, good and hostile ones."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.browser.site import Site
from tidegate.adapters.chromium import processes
from tidegate.adapters.chromium.browser import ChromiumBrowser
from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.errors import (
    EgressRefused,
    InvalidRequest,
    InvalidUrl,
    UpstreamFailed,
    UpstreamRejected,
    WorkerCrashed,
    WorkTimeout,
)
from tidegate.ports.browser import PageRequest, RenderFormat
from tidegate.ports.egress_guard import Passage

pytestmark = [pytest.mark.anyio, pytest.mark.needs("chromium", "playwright")]

GENEROUS_US = 30_000_000
TABLE = """<!doctype html><title>loading</title><body><p id=p>empty</p><script>
document.title = ["made", "by", "script"].join(" ");
document.getElementById("p").textContent = "six times seven is " + 6 * 7;
</script>"""


async def render(
    browser: ChromiumBrowser, passage: Passage, url: str, *, timeout_us: int = GENEROUS_US
) -> bytes:
    page = await browser.render(PageRequest(url=url), passage, timeout_us=timeout_us)
    return page.content


@pytest.mark.parametrize(
    ("format", "start"),
    [
        ("html", b"<!DOCTYPE html><html>"),
        ("text", b"six times seven is 42"),
        ("screenshot", b"\x89PNG\r\n\x1a\n"),
        ("pdf", b"%PDF-"),
    ],
)
async def test_a_page_is_what_its_script_made_of_it(
    browser: ChromiumBrowser, passage: Passage, site: Site, format: RenderFormat, start: bytes
) -> None:
    url = site.put("/script", TABLE)
    request = PageRequest(url=url + "#part", format=format, width_px=320, height_px=200)
    page = await browser.render(request, passage, timeout_us=GENEROUS_US)
    assert page.content.startswith(start)
    assert (page.title, page.status, page.final_url) == ("made by script", 200, url + "#part")
    if format == "screenshot":
        size = (int.from_bytes(page.content[16:20]), int.from_bytes(page.content[20:24]))
        assert size == (320, 200)
    if format == "html":
        assert b"six times seven is 42" in page.content
