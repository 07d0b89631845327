"""Rendering in real browsers over HTTP: what comes out, what is refused, and when one is killed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.api.harness import PATIENCE_S, Caller, bad, good, new_tenant
from tests.api.process import Server, json_request, serving
from tests.api.processes import browsers, kill_browsers
from tests.api.site import Site, answer, never, redirect

pytestmark = [pytest.mark.anyio, pytest.mark.needs("chromium")]

SETTINGS: dict[str, Any] = {
    # Not the default users: another service may run on this machine.
    "browser": {"path": None, "uid_base": 72_000, "timeout_s": 60.0},
}
SLOTS = 3
RENDER = "/v1/render"
SCRIPTED = """<title>old</title><p>before</p>
<script>document.title = "new"; document.querySelector("p").textContent = 6 * 7</script>"""


@pytest.fixture(scope="module")
async def server(
    anyio_backend: object, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    async with serving(tmp_path_factory.mktemp("server"), SETTINGS) as server:
        await browsers_are(server, "ok")
        yield server
        leader = server.pid
    assert browsers(leader) == []


@pytest.fixture
async def tenant(server: Server) -> AsyncIterator[Caller]:
    """A tenant; afterwards nothing may be held, by whomever."""
    tenant = await new_tenant(server.admin)
    yield tenant
    async with asyncio.timeout(PATIENCE_S):
        while (await tenant.remaining())["browsers"] < SLOTS:
            await asyncio.sleep(0.05)
    assert len(browsers(server.pid)) <= SLOTS


async def browsers_are(server: Server, state: str) -> None:
    """Wait until the service says so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            parts = (await server.http.get("/readyz")).json()["components"]
            if {part["name"]: part["state"] for part in parts}["browsers"] == state:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("fragment", ["#/inbox?a=b", "#", "#caf\u00e9#2"])
async def test_a_page_sees_the_fragment_of_its_address(
    site: Site, tenant: Caller, fragment: str
) -> None:
    shows = "<p></p><script>document.querySelector('p').textContent = location.href</script>"
    url = site.put("/views", answer(shows)) + fragment
    page = good(await tenant.post(RENDER, {"url": url, "format": "text"}))
    seen = url.replace("\u00e9", "%C3%A9")
    assert (page["url"], page["final_url"], page["content"].strip()) == (url, seen, seen)


async def test_each_format_is_what_the_page_became(site: Site, tenant: Caller) -> None:
    url = site.put("/scripted", answer(SCRIPTED))
    first = site.put("/first", redirect("/scripted"))
    shown = {}
    for kind in ("html", "text", "screenshot", "pdf"):
        body = {"url": first, "format": kind, "viewport": {"width": 320, "height": 200}}
        page = shown[kind] = good(await tenant.post(RENDER, body))
        assert (page["url"], page["final_url"], page["status"]) == (first, url, 200)
        assert (page["title"], page["format"], page["degraded"]) == ("new", kind, False)
    assert "<p>42</p>" in shown["html"]["content"]
    assert shown["text"]["content"].strip() == "42"
    picture = base64.b64decode(shown["screenshot"]["content"], validate=True)
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20]) == 320
    assert base64.b64decode(shown["pdf"]["content"], validate=True).startswith(b"%PDF-")


@pytest.mark.parametrize("moment", ["load", "domcontentloaded", "networkidle", "commit"])
async def test_a_page_may_be_taken_at_another_moment(
    site: Site, tenant: Caller, moment: str
) -> None:
    url = site.put("/scripted", answer(SCRIPTED))
    good(await tenant.post(RENDER, {"url": url, "wait_until": moment}))


async def test_an_error_page_is_rendered_too(site: Site, tenant: Caller) -> None:
    page = good(await tenant.post(RENDER, {"url": site.url("/missing"), "format": "text"}))
    assert (page["status"], page["content"].strip()) == (404, "nothing here")


async def test_what_leads_inside_is_refused(site: Site, tenant: Caller) -> None:
    inside = "http://127.0.0.1:1/"
    bad(await tenant.post(RENDER, {"url": inside}), 403, "egress_refused")
    out = site.put("/out", redirect(inside))
    bad(await tenant.post(RENDER, {"url": out}), 403, "egress_refused")


async def test_what_fails_upstream_is_told(site: Site, tenant: Caller) -> None:
    nobody = f"http://127.0.0.3:{site.port}/"
    bad(await tenant.post(RENDER, {"url": nobody}), 502, "upstream_failed")
    url = site.put("/never", never)
    bad(await tenant.post(RENDER, {"url": url, "timeout_s": 0.5}), 504, "work_timeout")
    await site.quiet()
    used = await tenant.usage()
    assert (used["operation_count"], used["failed_count"]) == (0, 2)


async def rendering(site: Site, tenant: Caller, count: int) -> list[asyncio.Task[httpx.Response]]:
    """Start renders of a page that does not come."""
    url = site.put("/never", never)
    before = site.asked["/never"]
    tasks = [asyncio.create_task(tenant.post(RENDER, {"url": url})) for _ in range(count)]
    await site.visits("/never", before + count)
    return tasks


async def test_the_fourth_waits_in_vain(site: Site, tenant: Caller) -> None:
    tasks = await rendering(site, tenant, SLOTS)
    url = site.put("/page", answer("<p>text"))
    bad(await tenant.post(RENDER, {"url": url, "timeout_s": 0.5}), 503, "timeout")
    waiting = asyncio.create_task(tenant.post(RENDER, {"url": url}))
    # Clients that hang up make room for it.
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    good(await waiting)
    await site.quiet()


async def test_a_client_that_goes_frees_its_browser(
    server: Server, site: Site, tenant: Caller
) -> None:
    before = site.asked["/never"]
    _, writer = await server.connect()
    writer.write(json_request(tenant, RENDER, url=site.put("/never", never)))
    await site.visits("/never", before + 1)
    writer.close()
    await writer.wait_closed()
    await site.quiet()
    async with asyncio.timeout(PATIENCE_S):
        while (await tenant.usage())["failed_count"] != 1:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("count", [1, SLOTS])
async def test_killed_browsers_are_replaced(
    server: Server, site: Site, tenant: Caller, count: int
) -> None:
    tasks = await rendering(site, tenant, count)
    site.put("/never", answer("<p>second try"))
    assert kill_browsers(server.pid) >= count
    for each in await asyncio.gather(*tasks):
        # The second try may be too early for the successor; then the answer says what happened.
        if each.status_code == 200:
            assert "second try" in each.json()["content"]
        else:
            bad(each, each.status_code, each.json()["code"])
            assert each.status_code in (502, 503, 504)
    await browsers_are(server, "ok")
    good(await tenant.post(RENDER, {"url": site.url("/never")}))


async def test_a_crowd_gets_no_more_browsers_than_there_are_slots(
    server: Server, site: Site, tenant: Caller
) -> None:
    url = site.put("/page", answer(SCRIPTED))
    counts: list[int] = []

    async def watch() -> None:
        while True:
            counts.append(len(await asyncio.to_thread(browsers, server.pid)))
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    works = [tenant.post(RENDER, {"url": url, "format": "text"}) for _ in range(50)]
    answers = await asyncio.gather(*works)
    watching.cancel()
    await asyncio.wait({watching})
    for each in answers:
        if each.status_code != 200:
            bad(each, 503, "timeout")
    delivered = [each for each in answers if each.status_code == 200]
    assert len(delivered) >= 25
    assert 1 <= max(counts) <= SLOTS
    used = await tenant.usage()
    assert used["operation_count"] == len(delivered)
    assert used["data_bytes"] == sum(len(each.content) for each in delivered)
    assert json.loads(delivered[0].content)["content"].strip() == "42"
