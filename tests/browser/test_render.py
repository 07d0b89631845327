"""What a real Chromium makes of pages, good and hostile ones."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest

from tests.browser.site import Site
from tidegate.adapters.chromium.browser import ChromiumBrowser
from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.errors import (
    EgressRefused,
    InvalidRequest,
    InvalidUrl,
    UpstreamFailed,
    UpstreamRejected,
    WorkTimeout,
)
from tidegate.ports.browser import PageRequest, RenderFormat
from tidegate.ports.egress_guard import Passage

pytestmark = [pytest.mark.anyio, pytest.mark.needs("chromium", "playwright")]

GENEROUS_US = 30_000_000
TOO_LARGE = "document.body.dataset.x = 'x'.repeat(21 * 2 ** 20)"
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
    ("kind", "start"),
    [
        ("html", b"<!DOCTYPE html><html>"),
        ("text", b"six times seven is 42"),
        ("screenshot", b"\x89PNG\r\n\x1a\n"),
        ("pdf", b"%PDF-"),
    ],
)
async def test_a_page_is_what_its_script_made_of_it(
    browser: ChromiumBrowser, passage: Passage, site: Site, kind: RenderFormat, start: bytes
) -> None:
    url = site.put("/script", TABLE)
    request = PageRequest(url=url + "#part", format=kind, width_px=320, height_px=200)
    page = await browser.render(request, passage, timeout_us=GENEROUS_US)
    assert page.content.startswith(start)
    assert (page.title, page.status, page.final_url) == ("made by script", 200, url + "#part")
    if kind == "screenshot":
        size = (int.from_bytes(page.content[16:20]), int.from_bytes(page.content[20:24]))
        assert size == (320, 200)
    if kind == "html":
        assert b"six times seven is 42" in page.content


async def test_a_broken_part_of_a_page_does_not_fail_the_page(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    url = site.put(
        "/parts",
        "<title>whole</title><img src='http://127.0.0.1:1/x'><img src='http://10.0.0.1/x'>"
        "<iframe src='http://169.254.169.254/latest/meta-data'></iframe><img src='/absent'>",
    )
    page = await browser.render(PageRequest(url=url), passage, timeout_us=GENEROUS_US)
    assert (page.title, page.status) == ("whole", 200)
    refused = {refusal.url for refusal in passage.refusals}
    assert {"http://10.0.0.1/x", "http://169.254.169.254/latest/meta-data"} <= refused


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_an_error_page_of_the_server_is_a_page(
    browser: ChromiumBrowser, passage: Passage, site: Site, status: int
) -> None:
    # It even asks for something that is refused, and is still the server's own answer.
    url = site.put(f"/e{status}", "<title>sorry</title><img src='http://10.0.0.1/'>", status=status)
    page = await browser.render(PageRequest(url=url), passage, timeout_us=GENEROUS_US)
    assert (page.title, page.status) == ("sorry", status)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "view-source:file:///etc/passwd",
        "chrome://version/",
        "about:blank",
        "data:text/html,x",
        "javascript:1",
        "ftp://example.com/",
        "http://",
        "http://user:secret@example.com/",
        " http://example.com/",
        "",
    ],
)
async def test_only_web_addresses_are_opened(
    browser: ChromiumBrowser, passage: Passage, url: str
) -> None:
    with pytest.raises(InvalidUrl):
        await render(browser, passage, url)


@pytest.mark.parametrize(("width_px", "height_px"), [(0, 720), (1280, 100_000)])
async def test_a_viewport_has_bounds(
    browser: ChromiumBrowser, passage: Passage, width_px: int, height_px: int
) -> None:
    request = PageRequest(url="http://example.com/", width_px=width_px, height_px=height_px)
    with pytest.raises(InvalidRequest):
        await browser.render(request, passage, timeout_us=GENEROUS_US)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://10.0.0.1/", "private"),
        ("https://10.0.0.1/", "private"),
        ("http://localhost:8099/", "loopback"),
        ("https://[::1]/x?y", "loopback"),
        ("http://169.254.169.254/latest/meta-data/", "link-local"),
        ("http://127.0.0.1:22/", "no browser opens this port"),
    ],
)
async def test_a_refused_address_is_told_from_a_dead_one(
    browser: ChromiumBrowser, passage: Passage, url: str, reason: str
) -> None:
    with pytest.raises(EgressRefused, match=reason):
        await render(browser, passage, url)


@pytest.mark.parametrize(
    ("way", "answer"),
    [
        ("302", {"status": 302, "headers": {"Location": "http://10.0.0.1/in"}}),
        ("302 to https", {"status": 302, "headers": {"Location": "https://10.0.0.1/in"}}),
        ("script", {"body": "<script>location = 'http://10.0.0.1/in'</script>"}),
        ("script to https", {"body": "<script>location = 'https://10.0.0.1/in'</script>"}),
        ("meta", {"body": "<meta http-equiv=refresh content='0; url=http://10.0.0.1/in'>"}),
    ],
)
async def test_a_page_cannot_lead_its_top_frame_astray(
    browser: ChromiumBrowser, passage: Passage, site: Site, way: str, answer: dict[str, object]
) -> None:
    url = site.put("/astray", **answer)  # type: ignore[arg-type]
    request = PageRequest(url=url, wait_until="networkidle")
    with pytest.raises(EgressRefused) as caught:
        await browser.render(request, passage, timeout_us=GENEROUS_US)
    assert caught.value.url.endswith("://10.0.0.1/in")


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 301, "headers": {"Location": "/there"}},
        {"body": "<script>location = '/there'</script>"},
        {"body": "<title>here</title><script>onload = () => location.replace('/there')</script>"},
    ],
)
async def test_a_page_may_lead_elsewhere(
    browser: ChromiumBrowser, passage: Passage, site: Site, answer: dict[str, object]
) -> None:
    site.put("/there", "<title>there</title>", status=202)
    url = site.put("/here", **answer)  # type: ignore[arg-type]
    request = PageRequest(url=url, wait_until="networkidle")
    page = await browser.render(request, passage, timeout_us=GENEROUS_US)
    assert (page.title, page.status, page.final_url) == ("there", 202, site.url("/there"))


async def test_a_page_that_leaves_before_it_is_complete(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    site.put("/mute", mute=True)
    site.put("/there", "<title>there</title>")
    script = "setTimeout(() => { location = '/there' }, 200)"
    url = site.put("/here", f"<title>here</title><img src=/mute><script>{script}</script>")
    page = await browser.render(PageRequest(url=url), passage, timeout_us=GENEROUS_US)
    assert (page.title, page.final_url) == ("there", site.url("/there"))


async def test_a_page_that_never_stops_leaving(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    # Which of the three depends on where it is when it is read, but it ends.
    url = site.put("/round", "<title>round</title><script>location.reload()</script>")
    with suppress(WorkTimeout, UpstreamFailed):
        page = await browser.render(PageRequest(url=url), passage, timeout_us=3_000_000)
        assert page.title == "round"
    assert b"fine" in await render(browser, passage, site.put("/fine", "fine"))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_page_that_leads_to_a_dead_end(
    browser: ChromiumBrowser, passage: Passage, site: Site, scheme: str
) -> None:
    # Over https the site is reached and speaks no TLS; over http the name does not exist.
    end = {"http": "http://nowhere.invalid/", "https": site.url("/").replace("http:", "https:")}
    url = site.put("/lost", f"<script>onload = () => {{ location = '{end[scheme]}' }}</script>")
    request = PageRequest(url=url, wait_until="networkidle")
    with pytest.raises(UpstreamFailed):
        await browser.render(request, passage, timeout_us=GENEROUS_US)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"kind": "application/zip", "body": "PK"}, UpstreamRejected),
        ({"headers": {"Content-Disposition": "attachment"}, "body": "x"}, UpstreamRejected),
        ({"status": 204}, UpstreamRejected),
        ({"status": 302, "headers": {"Location": "/looks"}}, UpstreamFailed),
        ({"body": f"<body><script>{TOO_LARGE}</script>"}, UpstreamRejected),
    ],
    ids=["type", "attachment", "no content", "endless redirect", "too large"],
)
async def test_what_is_no_page_is_told_apart(
    browser: ChromiumBrowser,
    passage: Passage,
    site: Site,
    answer: dict[str, object],
    error: type[Exception],
) -> None:
    url = site.put("/looks", **answer)  # type: ignore[arg-type]
    with pytest.raises(error):
        await render(browser, passage, url)


async def test_a_dead_server_and_a_closed_passage(
    browser: ChromiumBrowser, guard: FilteringProxy, site: Site
) -> None:
    passage = guard.open("acme")
    async with Site() as other:
        dead = other.url("/")
    with pytest.raises((UpstreamFailed, EgressRefused)):
        await render(browser, passage, dead)
    passage.close()
    with pytest.raises(EgressRefused, match="closed"):
        await render(browser, passage, site.put("/", "hello"))


async def test_a_dialog_is_dismissed(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    script = "alert(1); confirm(2); document.title = String(prompt(3))"
    url = site.put("/dialog", f"<script>{script}</script>")
    page = await browser.render(PageRequest(url=url), passage, timeout_us=GENEROUS_US)
    assert page.title == "null"


async def test_a_site_is_told_who_comes(
    browser: ChromiumBrowser, passage: Passage, site: Site
) -> None:
    site.requests.clear()
    await render(browser, passage, site.put("/who", "who"))
    agent = f"User-Agent: Mozilla/5.0 .* HeadlessChrome/{browser.version} Tidegate-Test/1\r"
    assert re.search(agent, site.requests[0])


async def test_nothing_survives_from_one_page_to_the_next(
    browser: ChromiumBrowser, guard: FilteringProxy, site: Site
) -> None:
    script = "document.title = [document.cookie, localStorage.length]; localStorage.x = 1"
    url = site.put("/cookie", f"<script>{script}</script>", headers={"Set-Cookie": "a=b"})
    for _ in range(2):
        site.requests.clear()
        passage = guard.open("acme")
        page = await browser.render(PageRequest(url=url), passage, timeout_us=GENEROUS_US)
        passage.close()
        assert page.title == "a=b,0"
        assert "cookie: " not in site.requests[0].lower()
