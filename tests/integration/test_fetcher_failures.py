"""Fetches that fail, each with the error that says why."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.fetching import (
    GZIP,
    HTML,
    MIB,
    PATIENCE_US,
    bomb,
    fetch,
    site,
)
from tests.integration.remote import (
    Behave,
    answer,
    guarding,
    redirect,
)
from tidegate.adapters.web.fetcher import HttpFetcher
from tidegate.errors import (
    EgressRefused,
    InvalidUrl,
    TidegateError,
    UpstreamFailed,
    UpstreamRejected,
)
from tidegate.ports.fetcher import FetchRequest

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.needs("uvloop"))],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the service runs on uvloop, embedders on asyncio."""
    return "asyncio", {"use_uvloop": request.param}


async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(b"<p>half", HTML)[:-2])


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    ("sent", "error", "reason"),
    [
        pytest.param(
            answer(b"\0" * (MIB + 1), HTML), UpstreamRejected, "larger than 1048576", id="long"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + HTML.encode() + b"\r\n\r\n" + b"\0" * (MIB + 1),
            *(UpstreamRejected, "larger than 1048576"),
            id="long without saying so",
        ),
        pytest.param(
            answer(bomb(mebibytes=2), HTML, GZIP), UpstreamRejected, "unpacks to more", id="bomb"
        ),
        pytest.param(
            answer(b"\x1f\x8b\x08\x08\0\0\0\0\0\0" + b"x" * 2 * MIB, HTML, GZIP)[17:],
            *(UpstreamFailed, "does not speak HTTP|is not HTTP"),
            id="no status line",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n"
            + f"{HTML}\r\n{GZIP}\r\n\r\n".encode()
            + b"\x1f\x8b\x08\x08\0\0\0\0\0\0"
            + b"x" * 2 * MIB,
            *(UpstreamRejected, "larger than 1048576"),
            id="a gzip name without end",
        ),
        pytest.param(
            answer(b"x", "Content-Type: image/png"),
            *(UpstreamRejected, r"the answer \(200\) is image/png, not text/html"),
            id="other type",
        ),
        pytest.param(answer(b"x"), UpstreamRejected, "octet-stream", id="no type"),
        pytest.param(answer(b"%PDF-"), UpstreamRejected, "application/pdf", id="PDF unasked"),
        pytest.param(
            answer(b"x", HTML, "Content-Encoding: br"), UpstreamRejected, "'br'", id="unasked br"
        ),
        pytest.param(
            answer(b"<html>" * 9, HTML, GZIP), UpstreamFailed, "not compressed", id="not compressed"
        ),
        pytest.param(broken, UpstreamFailed, "broke off the connection", id="broken off"),
        pytest.param(reset, UpstreamFailed, "could not be reached: it (broke|closed)", id="cut"),
        pytest.param(b"220 mail\r\n\r\n", UpstreamFailed, "its answer is not HTTP", id="not HTTP"),
        pytest.param(redirect("/"), UpstreamFailed, "redirects more than 10 times", id="circle"),
        pytest.param(
            redirect("http://a..b/"), UpstreamFailed, "redirects to what is not", id="bad"
        ),
        pytest.param(redirect("http://a:b@c/"), UpstreamFailed, "credentials", id="login"),
        pytest.param(
            redirect("file:///etc/passwd"), EgressRefused, "only http and https", id="file"
        ),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
async def test_what_goes_wrong(
    sent: bytes | Behave, error: type[TidegateError], reason: str, tls: bool
) -> None:
    async with site({"/": sent}, tls=tls) as (remote, base, guard):
        with pytest.raises(error) as caught:
            await fetch(base, guard.open("acme"))
        assert 1 <= len(remote.heads) <= 11
    # Through a tunnel the guard sees nothing of the answer.
    expected = f"{reason}|broke off the connection|does not speak HTTP" if tls else reason
    assert caught.match(expected)


async def test_a_certificate_for_another_name() -> None:
    async with site({"/": answer(b"<p>", HTML)}, tls=True) as (remote, _, guard):
        with pytest.raises(UpstreamFailed, match=r"of wrong\.test is not trusted: .*mismatch"):
            await fetch(f"https://wrong.test:{remote.port}/", guard.open("acme"))
    assert remote.heads == []


async def test_a_server_that_speaks_no_tls() -> None:
    async def mail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n" * 10)
        await reader.read()

    async with site({"": mail}) as (remote, _, guard):
        with pytest.raises(UpstreamFailed, match=r"no TLS connection with tls\.test"):
            await fetch(f"https://tls.test:{remote.port}/", guard.open("acme"))


async def test_the_system_does_not_trust_the_test() -> None:
    async with site({"/": answer(b"<p>", HTML)}, tls=True) as (remote, base, guard):
        request = FetchRequest(url=base, media_types=frozenset({"text/html"}), size_max_bytes=9)
        with pytest.raises(UpstreamFailed, match="is not trusted: self-signed"):
            await HttpFetcher("x").fetch(request, guard.open("acme"), timeout_us=PATIENCE_US)
    assert remote.heads == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_host_that_is_not_there(scheme: str) -> None:
    async with site({}) as (remote, _, guard):
        port = remote.port
    async with guarding(f"127.0.0.1:{port}") as guard:
        with pytest.raises(UpstreamFailed) as caught:
            await fetch(f"{scheme}://127.0.0.1:{port}/", guard.open("acme"))
    assert str(caught.value) == "127.0.0.1 could not be reached: connection refused"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_closed_passage_lets_nothing_through(scheme: str) -> None:
    async with site({"/": answer(b"<p>", HTML)}) as (remote, base, guard):
        passage = guard.open("acme")
        passage.close()
        with pytest.raises(EgressRefused, match="the passage is closed"):
            await fetch(base.replace("http", scheme), passage)
    assert remote.heads == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_refusal_after_more_than_the_passage_remembers(scheme: str) -> None:
    async with guarding("") as guard:
        passage = guard.open("acme")
        for _ in range(101):
            with pytest.raises(EgressRefused, match="it leads to a private address"):
                await fetch(f"{scheme}://10.0.0.1/", passage)
    assert len(passage.refusals) == 100


async def test_what_is_no_url_is_said_at_once() -> None:
    async with guarding("") as guard:
        with pytest.raises(InvalidUrl):
            await fetch("file:///etc/passwd", guard.open("acme"))
