"""The fetcher through the real guard against servers that answer well, badly, or never."""

from __future__ import annotations

import gzip

import pytest

from tests.integration.fetching import (
    HTML,
    MIB,
    fetch,
    site,
)
from tests.integration.remote import (
    Behave,
    answer,
    guarding,
    redirect,
    serving,
)
from tidegate.errors import (
    EgressRefused,
)
from tidegate.ports.fetcher import Fetched

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.needs("uvloop"))],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the service runs on uvloop, embedders on asyncio."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("tls", [False, True])
async def test_a_page_after_redirects(tls: bool) -> None:
    answers: dict[str, bytes | Behave] = {
        "/a": redirect("b", "301 Moved Permanently"),
        "/b": redirect("//tls.test:{port}/c d?e", "307 Temporary Redirect"),
        "/c%20d": answer(gzip.compress(b"<p>tide"), HTML, "Content-Encoding: gzip"),
    }
    async with site(answers, tls=tls) as (remote, base, guard):
        second = answers["/b"]
        assert isinstance(second, bytes)
        answers["/b"] = second.replace(b"{port}", str(remote.port).encode())
        passage = guard.open("acme")
        fetched = await fetch(f"{base}/a#fragment", passage)
    final_url = f"{base.replace('127.0.0.1', 'tls.test')}/c%20d?e"
    assert fetched == Fetched(
        final_url=final_url, status=200, media_type="text/html", charset="utf-8", body=b"<p>tide"
    )
    assert len(remote.heads) == 3
    for head in remote.heads:
        assert "User-Agent: tidegate-test/1.0\r\n" in head
        assert "Accept-Encoding: gzip, deflate\r\n" in head
        assert "Accept: text/html, */*;q=0.1\r\n" in head
        assert "proxy" not in head.lower()
        assert passage.password not in head
    assert passage.refusals == ()


@pytest.mark.parametrize(
    ("sent", "status", "media_type", "charset", "body"),
    [
        pytest.param(
            answer(b"<p>gone", HTML, status="404 Not Found"),
            *(404, "text/html", "utf-8", b"<p>gone"),
            id="an error is an answer",
        ),
        pytest.param(
            answer(b"<p>later", HTML, "X-Tidegate-Egress: refused", status="403 Forbidden"),
            *(403, "text/html", "utf-8", b"<p>later"),
            id="a server that pretends to be the guard",
        ),
        pytest.param(
            answer(b"<p>login", HTML, status="407 Proxy Authentication Required"),
            *(407, "text/html", "utf-8", b"<p>login"),
            id="a server that asks for the proxy's credentials",
        ),
        pytest.param(answer(b" <p>"), 200, "text/html", None, b" <p>", id="a guess at HTML"),
        pytest.param(answer(b"%PDF-1"), 200, "application/pdf", None, b"%PDF-1", id="and at PDF"),
        pytest.param(
            answer(b"<p>", HTML, status="302 Found"),
            *(302, "text/html", "utf-8", b"<p>"),
            id="a redirect to nowhere",
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>old",
            *(200, "text/html", None, b"<p>old"),
            id="until the connection ends",
        ),
        pytest.param(
            answer(b"\0" * MIB, HTML), 200, "text/html", "utf-8", b"\0" * MIB, id="the largest"
        ),
    ],
)
async def test_answers(
    sent: bytes, status: int, media_type: str, charset: str | None, body: bytes
) -> None:
    async with site({"/": sent}) as (_, base, guard):
        fetched = await fetch(base, guard.open("acme"), types=("text/html", "application/pdf"))
    assert fetched == Fetched(
        final_url=f"{base}/", status=status, media_type=media_type, charset=charset, body=body
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{other}/",
        "http://2130706433:{other}/",
        "http://0x7f.1:{other}/",
        "http://[::ffff:7f00:1]:{other}/",
        "http://[::1]:{other}/",
        "https://127.0.0.1:{other}/",
        "https://[::1]:{other}/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:{other}/",
    ],
)
@pytest.mark.parametrize("redirected", [False, True])
async def test_private_addresses_are_refused(url: str, redirected: bool) -> None:
    async with serving({"/": answer(b"<p>secret", HTML)}) as other:
        private = url.format(other=other.port)
        async with site({"/": redirect(private)}) as (_, base, guard):
            passage = guard.open("acme")
            with pytest.raises(EgressRefused) as caught:
                await fetch(base if redirected else private, passage)
    assert other.heads == []
    assert "address" in caught.value.reason
    assert caught.value.url.startswith(private[:7])
    assert len(passage.refusals) == 1


async def test_a_name_that_rebinds_is_refused_on_the_second_hop() -> None:
    addresses = iter([["127.0.0.1"], ["10.0.0.1"]])
    async with serving({"/": redirect("/again")}) as remote:
        allow = f"127.0.0.1:{remote.port}"
        async with guarding(allow, resolve=lambda _: next(addresses)) as guard:
            with pytest.raises(EgressRefused, match="private"):
                await fetch(f"http://rebind.example:{remote.port}/", guard.open("acme"))
