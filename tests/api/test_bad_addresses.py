"""Addresses that nobody may be sent to: those that are none, and those that lead inside."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.api.harness import Api, Caller, bad, fields
from tests.api.site import answer, redirect

pytestmark = pytest.mark.anyio

NO_ADDRESS = [
    "",
    " ",
    "example.com",
    "/etc/passwd",
    "//example.com/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:text/html,<p>",
    "ftp://example.com/",
    "gopher://127.0.0.1:6379/_INFO",
    "ws://example.com/",
    "about:blank",
    "chrome://version",
    "view-source:http://example.com/",
    "http:",
    "http://",
    "http:///path",
    "http://?query",
    "http://#fragment",
    "http://:80/",
    "http:example.com",
    "http:\\\\example.com\\",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://example.com@127.0.0.1/",
    "http://exam ple.com/",
    "http://example.com/a b",
    " http://example.com/",
    "http://example.com/\n",
    "http://example.com/\r\nX-Injected: 1",
    "http://example.com/\x00",
    "http://example.com:99999/",
    "http://example.com:0/",
    "http://example.com:-1/",
    "http://example.com:8O/",
    "http://[::1",
    "http://::1/",
    "http://[::1]x/",
    "http://[fe80::1%25eth0]/",
    "http://[1::2::3]/",
    "http://256.256.256.256/",
    "http://1.2.3.4.5/",
    "http://0x100000000/",
    "http://a..b/",
    "http://exam\u200dple.com/",
    "http://exa\u2024mple.com/",
    "http://example.com\u2028/",
    "http://ex%61mple.com/",
    "http://example.com" + "/x" * 4_500,
    "http://" + "a" * 64 + ".com/",
    "http://" + "a." * 130 + "com/",
]
"""What is refused before anything is looked up."""

INSIDE = [
    "http://127.0.0.1/",
    "http://127.0.0.1:22/",
    "http://127.1/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://2130706433/",
    "http://0/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "https://127.0.0.1/",
]
"""Ways to say what is not open to tenants."""

PATHS = ["/v1/render", "/v1/extract", "/v1/pdf"]
everywhere = pytest.mark.parametrize("path", PATHS)


@everywhere
async def test_what_is_no_address_is_refused(api: Api, tenant: Caller, path: str) -> None:
    for url in NO_ADDRESS:
        response = await tenant.post(path, {"url": url})
        assert response.status_code == 422, (url, response.text)
        problem = bad(response, 422, response.json()["code"])
        assert fields(problem) == {"url"}, url
        assert "secret" not in response.text
        assert len(response.content) < 20_000
    assert (await tenant.usage())["failed_count"] == 0


@everywhere
async def test_what_leads_inside_is_refused_by_every_name(
    api: Api, tenant: Caller, path: str
) -> None:
    for url in INSIDE:
        response = await tenant.post(path, {"url": url})
        assert response.status_code == 403, (url, response.text)
        bad(response, 403, "egress_refused")


@everywhere
async def test_a_redirect_does_not_lead_inside(api: Api, tenant: Caller, path: str) -> None:
    site = api.site
    site.put("/end", answer("never seen"))
    places = [place for place in INSIDE if place.isascii()]
    places += ["file:///etc/passwd", "ftp://127.0.0.2/", "javascript:alert(1)", "//127.0.0.1/"]
    for place in places:
        site.put("/in", redirect(place))
        url = site.put("/out", redirect(site.url("/in")))
        response = await tenant.post(path, {"url": url})
        assert response.status_code == 403, (place, response.text)
        bad(response, 403, "egress_refused")


@everywhere
async def test_the_guard_is_no_way_back_in(api: Api, tenant: Caller, path: str) -> None:
    """It listens on loopback itself, and whoever speaks to it has a key to it."""
    with closing(api.service.governed._extraction._guard.open(tenant.id)) as passage:
        response = await tenant.post(path, {"url": passage.proxy_url})
    bad(response, 403, "egress_refused")
