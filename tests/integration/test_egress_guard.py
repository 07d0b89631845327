"""The filtering proxy against real servers on loopback, spoken to in raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.integration.remote import (
    answer,
    ask,
    basic,
    guarding,
    head_for,
    serving,
    status_of,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.needs("uvloop"))],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the service runs on uvloop, embedders on asyncio."""
    return "asyncio", {"use_uvloop": request.param}


async def test_a_request_is_understood_and_written_anew() -> None:
    page = answer(b"hello", "X-Tidegate-Egress: refused", "Keep-Alive: 5", "X-Kept: yes")
    async with serving({"/a": page}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        passage = guard.open("acme")
        got = await ask(
            passage,
            f"GET http://127.0.0.1:{remote.port}/a?b=c",
            "Connection: keep-alive, X-Private",
            "X-Private: 1",
            "Upgrade: websocket",
            "Proxy-Connection: keep-alive",
            "X-Public: 2",
        )
    head, _, body = got.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert head.splitlines() == [
        b"HTTP/1.1 200 OK",
        b"Content-Length: 5",
        b"X-Kept: yes",
        b"Connection: close",
    ]
    assert remote.heads == [
        f"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{remote.port}\r\n"
        "X-Public: 2\r\nConnection: close\r\n\r\n"
    ]
    assert passage.refusals == ()
    assert passage.received_bytes == len(page)


@pytest.mark.parametrize(
    ("headers", "body", "wire"),
    [
        (["Content-Length: 5"], b"12345", b"12345"),
        (["Content-Length: 5", "Expect: 100-continue"], b"12345", b"12345"),
        (
            ["Transfer-Encoding: chunked"],
            b"5;x=y\r\n12345\r\n0\r\n\r\n",
            b"5\r\n12345\r\n0\r\n\r\n",
        ),
    ],
)
async def test_a_body_arrives(headers: list[str], body: bytes, wire: bytes) -> None:
    received: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readexactly(len(wire)))
        writer.write(answer(b"ok"))

    async with serving({"/": take}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        url = f"http://127.0.0.1:{remote.port}/"
        got = await ask(guard.open("acme"), f"POST {url}", *headers, body=body)
    assert got.endswith(b"\r\n\r\nok")
    assert received == [wire]
    assert "expect" not in remote.heads[0].lower()


@pytest.mark.parametrize(
    ("method", "sent", "ending"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"\r\n\r\n"),
        (
            "GET",
            b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            b"\r\n\r\na",
        ),
        ("GET", b"HTTP/1.0 200 OK\r\n\r\nto the end", b"\r\n\r\na\r\nto the end\r\n0\r\n\r\n"),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n"
            b"1\r\na\r\n1\r\nb\r\n0\r\nX-Trailer: 1\r\n\r\n",
            b"\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
    ],
    ids=["head", "no content", "early hints", "until closed", "chunked in small pieces"],
)
async def test_answers_keep_their_end(method: str, sent: bytes, ending: bytes) -> None:
    async with serving({"/": sent}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        got = await ask(guard.open("acme"), f"{method} http://127.0.0.1:{remote.port}/")
    head, end, body = got.partition(b"\r\n\r\n")
    assert end + body == ending
    assert not (b"chunked" in head and b"Content-Length" in head)


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.01",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "[fe80::1]",
]


@pytest.mark.parametrize("tunnelled", [False, True])
async def test_no_spelling_of_a_private_address_gets_through(tunnelled: bool) -> None:
    async with serving({"/": answer(b"secret")}) as remote, guarding("127.0.0.1:1") as guard:
        for host in SPELLINGS:
            passage = guard.open("acme")
            place = f"{host}:{remote.port}"
            line = f"CONNECT {place}" if tunnelled else f"GET http://{place}/"
            got = await ask(passage, line)
            assert status_of(got) == 403, host
            assert b"x-tidegate-egress: refused" in got
            (refusal,) = passage.refusals
            assert refusal.url.startswith("https://" if tunnelled else "http://")
            assert refusal.reason.startswith("it leads to a")
    assert remote.heads == []


async def test_one_bad_address_refuses_the_host() -> None:
    async with guarding("", resolve=lambda _: ["8.8.8.8", "10.1.2.3"]) as guard:
        passage = guard.open("acme")
        got = await ask(passage, "GET http://mixed.example/")
    assert status_of(got) == 403
    assert [refusal.reason for refusal in passage.refusals] == ["it leads to a private address"]
    assert b"10.1.2.3" not in got


async def test_the_address_that_was_checked_is_dialled() -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked: list[str] = []

    def rebind(host: str) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    async with serving({"/": answer(b"first")}) as remote:
        async with guarding(f"127.0.0.1:{remote.port}", resolve=rebind) as guard:
            passage = guard.open("acme")
            line = f"GET http://Rebind.Example.:{remote.port}/"
            assert (await ask(passage, line)).endswith(b"first")
            assert asked == ["rebind.example"]
            assert status_of(await ask(passage, line)) == 403
    assert len(remote.heads) == 1


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("GET /", [], 400),
        ("GET https://example.com/", [], 400),
        ("GET ftp://example.com/", [], 400),
        ("GET http://user:secret@example.com/", [], 400),
        ("GET http:///nowhere", [], 400),
        ("GET http://a_b..c/", [], 400),
        ("CONNECT example.com", [], 400),
        ("CONNECT user@example.com:443", [], 400),
        ("CONNECT example.com:443/x", [], 400),
        ("CONNECT example.com:0", [], 400),
        ("CONNECT example.com:443", ["Content-Length: 3"], 400),
        ("POST http://example.com/", ["Content-Length: 3", "Transfer-Encoding: chunked"], 400),
        ("POST http://example.com/", ["Content-Length: 3", "Content-Length: 4"], 400),
        ("POST http://example.com/", ["Transfer-Encoding: gzip, chunked"], 501),
        ("GET http://example.com/ extra", [], 400),
        ("GET http://example.com/", ["X: " + "x" * 100_000], 431),
        ("HEAD /", [], 400),
    ],
)
async def test_what_is_unclear_is_not_guessed(line: str, headers: list[str], status: int) -> None:
    def unasked(host: str) -> Sequence[str]:
        raise AssertionError(host)

    async with guarding("", resolve=unasked) as guard:
        passage = guard.open("acme")
        got = await ask(passage, line, *headers)
    assert status_of(got) == status
    assert b"secret" not in got
    assert passage.refusals == ()
    assert line.startswith("HEAD") is got.endswith(b"\r\n\r\n")


async def test_only_an_open_passage_lets_through() -> None:
    async with serving({"/": answer(b"hello")}) as remote:
        async with guarding(f"127.0.0.1:{remote.port}") as guard:
            passage, other = guard.open("acme"), guard.open("acme")
            line = f"GET http://127.0.0.1:{remote.port}/"
            for wrong in (
                "",
                basic(passage.username, other.password),
                basic(passage.username, ""),
                basic("", ""),
                basic("nobody", passage.password),
                "Proxy-Authorization: Bearer " + passage.password,
                "Proxy-Authorization: Basic ???",
                "Proxy-Authorization: Basic /w==",
                f"{basic(passage.username, passage.password)}\r\n{basic('a', 'b')}",
            ):
                got = await ask(passage, line, credentials=wrong)
                assert status_of(got) == 407, wrong
                assert b'Proxy-Authenticate: Basic realm="tidegate"' in got
            assert status_of(await ask(passage, line)) == 200
            passage.close()
            passage.close()
            assert status_of(await ask(passage, line)) == 407
            assert status_of(await ask(other, line)) == 200
    assert len(remote.heads) == 2


async def test_a_second_request_on_a_connection_is_never_read() -> None:
    async with serving({"/": answer(b"public"), "/private": answer(b"secret")}) as remote:
        async with guarding(f"127.0.0.1:{remote.port}") as guard:
            passage = guard.open("acme")
            second = head_for(passage, f"GET http://127.0.0.2:{remote.port}/private")
            got = await ask(passage, f"GET http://127.0.0.1:{remote.port}/", body=second * 3)
    assert got.endswith(b"public")
    assert got.count(b"HTTP/1.1") == 1
    assert len(remote.heads) == 1
