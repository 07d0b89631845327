"""The demo site, over real connections."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tidegate.adapters.pdfium.pdf_reader import start_pdf_reader
from tidegate.entrypoints.demo import DemoSite
from tidegate.errors import ExtraMissing

pytestmark = pytest.mark.anyio


@pytest.fixture
async def site() -> AsyncIterator[DemoSite]:
    site = DemoSite()
    await site.start()
    yield site
    await site.stop()


async def get(site: DemoSite, path: str, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.request(method, site.url(path))


@pytest.mark.parametrize(
    ("method", "path", "status", "media_type", "text"),
    [
        ("GET", "/", 200, "text/html; charset=utf-8", 'href="/article"'),
        ("GET", "/app", 200, "text/html; charset=utf-8", "<title>Loading</title>"),
        ("GET", "/article", 200, "text/html; charset=utf-8", "<h2>What a lease adds</h2>"),
        ("GET", "/sample.pdf", 200, "application/pdf", "%PDF-1.7"),
        ("GET", "/slow?seconds=0.01", 200, "text/plain; charset=utf-8", "after 0.01 s"),
        ("GET", "/slow?seconds=nan", 400, "text/plain; charset=utf-8", "seconds must be"),
        ("GET", "/slow?seconds=-1", 400, "text/plain; charset=utf-8", "seconds must be"),
        ("GET", "/slow?seconds=soon", 400, "text/plain; charset=utf-8", "seconds must be"),
        ("HEAD", "/article", 200, "text/html; charset=utf-8", ""),
        ("GET", "/etc/passwd", 404, "text/plain; charset=utf-8", "Not Found"),
        ("POST", "/app", 405, "text/plain; charset=utf-8", "Method Not Allowed"),
    ],
)
async def test_pages(
    site: DemoSite, method: str, path: str, status: int, media_type: str, text: str
) -> None:
    response = await get(site, path, method)
    assert (response.status_code, response.headers["content-type"]) == (status, media_type)
    assert text in response.text
    assert (len(response.content) == 0) == (method == "HEAD")


async def test_the_article_is_worth_extracting(site: DemoSite) -> None:
    html = (await get(site, "/article")).text
    article = html[html.index("<article>") : html.index("</article>")]
    assert len(re.sub("<[^>]+>", " ", article).split()) > 400
    for target in set(re.findall(r'href="(/[^"?]*)', html)):
        assert (await get(site, target)).status_code == 200


@pytest.mark.needs("pdfium")
async def test_the_document_is_a_real_one(site: DemoSite) -> None:
    data = (await get(site, "/sample.pdf")).content
    reader = await start_pdf_reader()
    document = await reader.read(data, timeout_us=60_000_000)
    await reader.close()
    assert len(document.pages) == 3
    assert document.metadata["Author"] == "The Tidegate authors"
    assert "a tide decides how many want to." in document.pages[0]


async def test_stop_ends_slow_answers_and_closes_the_port(site: DemoSite) -> None:
    waiting = asyncio.create_task(get(site, "/slow?seconds=30"))
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await site.stop()
    await site.stop()
    assert (await waiting).status_code == 200
    assert time.monotonic() - started < 10
    with pytest.raises(httpx.ConnectError):
        await get(site, "/")


async def test_signals_stay_with_the_service(site: DemoSite) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    other = DemoSite()
    await other.start()
    assert other.port != site.port
    assert (await get(other, "/")).status_code == 200
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    await other.stop()


async def test_a_port_that_is_taken(site: DemoSite) -> None:
    other = DemoSite(port=site.port)
    with pytest.raises(OSError, match="in use"):
        await other.start()
    await other.stop()


@pytest.mark.needs("ipv6")
async def test_ipv6() -> None:
    site = DemoSite(host="::1")
    await site.start()
    assert site.url("/app") == f"http://[::1]:{site.port}/app"
    assert (await get(site, "/app")).status_code == 200
    await site.stop()


async def test_a_missing_server_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ExtraMissing, match="server"):
        await DemoSite().start()
