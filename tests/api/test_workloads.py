"""Render, extract and PDF over HTTP, where there is no browser: what comes out, and what fails."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

from tests.api.harness import Api, Caller, bad, good, opened
from tests.api.site import Behave, answer, never, redirect
from tests.pdf_samples import encrypted, says
from tidegate.entrypoints.demo import DemoSite
from tidegate.entrypoints.http import workloads
from tidegate.facades import workload

pytestmark = pytest.mark.anyio

CAP_S = 20.0
SETTINGS: dict[str, Any] = {
    "browser": {"timeout_s": CAP_S},
    "extract": {"timeout_s": CAP_S},
    "pdf": {"timeout_s": CAP_S, "wait_s": CAP_S},
    "body_max_bytes": 2**20,
}
PDF = "application/pdf"
RENDER, EXTRACT, READ = "/v1/render", "/v1/extract", "/v1/pdf"
PATHS = [RENDER, EXTRACT, READ]


async def test_a_page_is_fetched_where_there_is_no_browser(api: Api, tenant: Caller) -> None:
    html = "<title>Title</title><p>Some <b>text</b><script>document.title = 'no'</script>"
    url = api.site.put("/page", answer(html))
    first = api.site.put("/first", redirect("/page"))
    page = good(await tenant.post(RENDER, {"url": first}))
    assert page.pop("elapsed_s") > 0
    assert page == {
        "url": first,
        "final_url": url,
        "status": 200,
        "title": "Title",
        "format": "html",
        "content": html,
        "degraded": True,
        "cached": False,
    }
    text = good(await tenant.post(RENDER, {"url": url, "format": "text", "wait_until": "commit"}))
    assert (text["content"].split(), text["degraded"]) == (["Some", "text"], True)


@pytest.mark.parametrize("wanted", ["screenshot", "pdf"])
async def test_what_needs_a_browser_is_not_available(api: Api, tenant: Caller, wanted: str) -> None:
    url = api.site.put("/page", answer("<p>text"))
    before = api.site.asked["/page"]
    bad(await tenant.post(RENDER, {"url": url, "format": wanted}), 503, "browser_unavailable")
    assert api.site.asked["/page"] == before


async def test_the_fallback_can_be_switched_off(api: Api, tmp_path: Any) -> None:
    from msgspec.structs import replace

    settings = replace(api.settings, browser=replace(api.settings.browser, fallback=False))
    url = api.site.put("/page", answer("<p>text"))
    async with opened(settings, tmp_path, api.site) as other:
        tenant = await other.tenant()
        bad(await tenant.post(RENDER, {"url": url}), 503, "browser_unavailable")
        good(await tenant.post(EXTRACT, {"url": url}))


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oh", "403 No", "204 No Content"])
async def test_an_error_page_is_a_page(api: Api, tenant: Caller, status: str) -> None:
    url = api.site.put("/error", answer("<title>Oops</title><p>gone", status=status))
    page = good(await tenant.post(RENDER, {"url": url, "format": "text"}))
    assert page["status"] == int(status[:3])
    assert page["title"] == ("" if status.startswith("204") else "Oops")
    good(await tenant.post(EXTRACT, {"url": url}))


async def test_extraction_tells_title_text_links_and_metadata(api: Api, tenant: Caller) -> None:
    site = DemoSite(host="127.0.0.3")
    await site.start()
    try:
        page = good(await tenant.post(EXTRACT, {"url": site.url("/article")}))
        document = good(await tenant.post(READ, {"url": site.url("/sample.pdf")}))
    finally:
        await site.stop()
    assert page["url"] == site.url("/article")
    assert page["title"] == "Why a gate needs leases"
    assert "What a counter forgets" in page["text"]
    assert {"href": site.url("/app"), "text": "App"} in page["links"]
    assert page["metadata"]["author"] == "The Tidegate authors"
    assert page["cached"] is False
    assert document["page_count"] == 3
    assert document["metadata"]["Title"] == "Tides and gates"
    assert [each["number"] for each in document["pages"]] == [1, 2, 3]


async def test_html_may_be_sent_along(api: Api, tenant: Caller) -> None:
    html = "<title>\N{SNOWMAN}</title><p>caf\xe9 \U0001f600 <a href=/x>x</a><a href=http://e.test/>"
    page = good(await tenant.post(EXTRACT, {"html": html}))
    assert (page["url"], page["title"]) == (None, "\N{SNOWMAN}")
    assert "caf\xe9 \U0001f600" in page["text"]
    for odd in ("", "<", "\x00", "<p>" * 50_000, "a" * 500_000, "&#xffffff;&#0;&unknown;"):
        good(await tenant.post(EXTRACT, {"html": odd}))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<p>caf\xe9".encode("latin-1"), "text/html; charset=iso-8859-1"),
        ("<p>caf\xe9".encode(), "text/html; charset=utf-8"),
        (b"<meta charset=windows-1252><p>caf\xe9", "text/html"),
        ("<p>caf\xe9".encode("utf-16"), "text/html"),
        (b"\xef\xbb\xbf" + "<p>caf\xe9".encode(), "text/html; charset=latin-1"),
        ("<p>caf\xe9".encode(), 'text/html; charset="UTF-8"; x=y'),
        ("<meta charset=utf-8><p>caf\xe9".encode(), "text/html; charset=no-such"),
        ("<p>caf\xe9".encode(), "application/xhtml+xml; charset=utf-8"),
    ],
)
async def test_pages_are_read_as_they_declare_themselves(
    api: Api, tenant: Caller, body: bytes, kind: str
) -> None:
    url = api.site.put("/accents", answer(body, kind))
    assert good(await tenant.post(EXTRACT, {"url": url}))["text"].strip() == "caf\xe9"
    page = good(await tenant.post(RENDER, {"url": url}))
    assert "caf\xe9" in page["content"]


async def test_pdfs_are_read_from_an_upload_and_from_an_address(api: Api, tenant: Caller) -> None:
    sample = says(b"Read me")
    files = {"file": ("../../etc/passwd", sample, "text/plain")}
    for kind in (PDF, "application/octet-stream"):
        url = api.site.put("/file.pdf", answer(sample, kind))
        for response in (
            await tenant.post(READ, files=files),
            await tenant.post(READ, {"url": url}),
        ):
            document = good(response)
            assert document["page_count"] == 1
            assert document["pages"][0]["text"].strip() == "Read me"
            assert document["metadata"] == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"no PDF", b"%PDF-1.7\n%%EOF", says(b"x")[:-200], encrypted(), bytes(10_000)],
    ids=["empty", "text", "hollow", "cut off", "encrypted", "zeros"],
)
async def test_a_broken_pdf_is_unreadable(api: Api, tenant: Caller, content: bytes) -> None:
    url = api.site.put("/broken.pdf", answer(content, PDF))
    answers = [await tenant.post(READ, {"url": url})]
    answers.append(await tenant.post(READ, files={"file": content}))
    for each in answers:
        bad(each, 422, "document_unreadable")
    good(await tenant.post(READ, files={"file": says(b"still well")}))


async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hang up without a word."""


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<p>")


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (slam, "upstream_failed"),
        (half, "upstream_failed"),
        (b"SSH-2.0-OpenSSH\r\n", "upstream_failed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "upstream_failed"),
        (redirect("/broken"), "upstream_failed"),
        (answer(b"GIF89a", "image/gif"), "upstream_rejected"),
        (answer(bytes(2**20 + 1), "application/pdf"), "upstream_rejected"),
        (answer(b"x", "text/html", "200 OK", "Content-Encoding: secret"), "upstream_rejected"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
async def test_what_upstream_does_wrong_is_not_our_fault(
    api: Api, tenant: Caller, path: str, page: bytes | Behave, code: str
) -> None:
    url = api.site.put("/broken", page)
    before = api.service.status.resources().degradation_score
    bad(await tenant.post(path, {"url": url}), 502, code)
    assert api.service.status.resources().degradation_score == before


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_there_is_upstream_failed(api: Api, tenant: Caller, path: str) -> None:
    for url in ("http://127.0.0.3:9/", "https://127.0.0.2:9/"):
        bad(await tenant.post(path, {"url": url}), 502, "upstream_failed")


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"<p>")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("page", [never, drip])
@pytest.mark.parametrize("path", PATHS)
async def test_a_slow_page_ends_at_the_cap(
    api: Api, tenant: Caller, path: str, page: Behave
) -> None:
    if path == READ and page is drip:
        return  # It is refused for its type before it can be slow.
    url = api.site.put("/slow", page)
    loop = asyncio.get_running_loop()
    since_s = loop.time()
    problem = bad(await tenant.post(path, {"url": url, "timeout_s": 0.3}), 504, "work_timeout")
    assert 0.3 <= loop.time() - since_s < 3.3
    assert "0.3 s" in problem["detail"]
    await api.site.quiet()


async def held_back(api: Api, tenant: Caller, path: str, count: int) -> tuple[Any, list[Any]]:
    """Start work that goes on until the returned event is set."""
    go_on = asyncio.Event()
    body = answer(says(b"late"), PDF) if path == READ else answer("<p>late")

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(body)

    url = api.site.put("/late", wait)
    before = api.site.asked["/late"]
    works = [asyncio.create_task(tenant.post(path, {"url": url})) for _ in range(count)]
    await api.site.visits("/late", before + count)
    return go_on, works


@pytest.mark.parametrize(("path", "slots"), [(RENDER, 3), (EXTRACT, 4), (READ, 2)])
async def test_no_more_work_runs_than_there_are_slots(
    api: Api, tenant: Caller, path: str, slots: int
) -> None:
    go_on, works = await held_back(api, tenant, path, slots)
    url = api.site.url("/late")
    other = await api.tenant()
    if path != READ:
        # The queue counts against the cap; a PDF has a time of its own to wait.
        bad(await other.post(path, {"url": url, "timeout_s": 0.2}), 503, "timeout")
        assert (await other.usage())["failed_count"] == 0
    waiting = asyncio.create_task(other.post(path, {"url": url}))
    while api.service.gate.queue_depth == 0:
        await asyncio.sleep(0)
    asked = api.site.asked["/late"]
    go_on.set()
    answers: list[httpx.Response] = await asyncio.gather(*works, waiting)
    for each in answers:
        good(each)
    assert api.site.asked["/late"] == asked + 1


async def test_large_answers_are_encoded_beside_the_loop(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    encode = workloads._json

    def noted(**fields: Any) -> workload.Reply:
        threads.append(threading.current_thread())
        return encode(**fields)

    monkeypatch.setattr(workloads, "_json", noted)
    monkeypatch.setattr(workload, "LARGE_BYTES", 500)
    for size, links in ((1, 0), (800, 0), (1, 20)):
        html = "<p>" + "x" * size + "<a href='http://a.example/'>y</a>" * links
        url = api.site.put("/sized", answer(html))
        pdf = {"files": {"file": says(b"x" * max(size, 40 * links))}}
        for path, request in ((RENDER, {"json": {"url": url}}), (EXTRACT, {"json": {"url": url}}),
                              (READ, pdf)):  # fmt: skip
            before = len(threads)
            good(await tenant.call("POST", path, **request))
            beside = [thread is not threading.main_thread() for thread in threads[before:]]
            assert beside == [size > 1 or links > 0], (path, size, links)
