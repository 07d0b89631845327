"""What only a socket shows: bodies and heads without end, no HTTP, silence, and HEAD."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
import pytest

from tests.api.harness import PATIENCE_S, Caller, bad, good, new_tenant
from tests.api.process import Server, json_request, serving
from tidegate.entrypoints.http.protocol import HEAD_MAX_BYTES, HEAD_MAX_S

pytestmark = pytest.mark.anyio

BODY_MAX_BYTES = 2**20
HOST = b"Host: gate.test\r\n"


@pytest.fixture(scope="module")
async def server(
    anyio_backend: object, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    settings = {"body_max_bytes": BODY_MAX_BYTES}
    async with serving(tmp_path_factory.mktemp("server"), settings) as server:
        yield server


@pytest.fixture
async def tenant(server: Server) -> Caller:
    return await new_tenant(server.admin)


@dataclass(frozen=True)
class Answer:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


async def read(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """Read one answer."""
    async with asyncio.timeout(PATIENCE_S):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        length = 0 if head else int(headers.get("content-length", "0"))
        return Answer(int(first.split()[1]), headers, await reader.readexactly(length))


def check_problem(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert msgspec.json.decode(answer.body)["code"] == code


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        return await reader.read() == b""


@pytest.mark.parametrize("stated", [True, False], ids=["by length", "in chunks"])
@pytest.mark.parametrize("size_bytes", [BODY_MAX_BYTES + 1, 50 * BODY_MAX_BYTES])
async def test_who_sends_too_much_reads_why(
    server: Server, tenant: Caller, size_bytes: int, stated: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size_bytes, 65_536):
            yield bytes(min(65_536, size_bytes - start))

    content = bytes(size_bytes) if stated else chunks()
    headers = {"Content-Type": "application/json"}
    answer = await tenant.post("/v1/extract", content=content, headers=headers)
    bad(answer, 413, "too_large")
    assert answer.headers["connection"] == "close"
    assert (await tenant.usage())["failed_count"] == 0


async def test_who_asks_first_sends_nothing(server: Server, tenant: Caller) -> None:
    reader, writer = await server.connect()
    head = json_request(tenant, "/v1/extract", html="").partition(b"Content-Length")[0]
    writer.write(head + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
    check_problem(await read(reader), 413, "too_large")
    assert await is_closed(reader)
    writer.close()


async def test_who_may_not_call_may_still_finish_its_body(server: Server, tenant: Caller) -> None:
    """The connection stays usable: the body of the refused request is no next request."""
    stranger = Caller(http=tenant.http, key="tg_nobody")
    reader, writer = await server.connect()
    writer.write(json_request(stranger, "/v1/extract", html="x" * 100_000))
    check_problem(await read(reader), 401, "unauthenticated")
    writer.write(json_request(tenant, "/v1/extract", html="<p>text"))
    assert (await read(reader)).status == 200
    writer.close()


@pytest.mark.parametrize(
    "wire",
    [
        b"HELO gate.test\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nbroken header\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"A: b\x00c\r\n\r\n",
        b"POST /v1/pdf HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n",
        b"POST /v1/pdf HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/pdf HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        b"POST /v1/pdf HTTP/1.1\r\n" + HOST
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_http_is_told_so(server: Server, wire: bytes) -> None:
    reader, writer = await server.connect()
    writer.write(wire)
    check_problem(await read(reader), 400, "unreadable")
    assert await is_closed(reader)
    writer.close()


@pytest.mark.parametrize("line", [b"A: b\r\n", b""], ids=["many headers", "one header"])
async def test_a_head_has_an_end(server: Server, line: bytes) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET /healthz HTTP/1.1\r\n" + HOST + (b"" if line else b"A: "))
    # Just too much, so that the answer is not lost in a reset.
    missing = HEAD_MAX_BYTES - 20
    writer.write(line * (missing // len(line)) if line else b"a" * missing)
    check_problem(await read(reader), 431, "too_large")
    writer.close()


async def test_a_large_head_within_the_bound_is_served(server: Server) -> None:
    reader, writer = await server.connect()
    for _ in range(3):
        writer.write(b"GET /healthz HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 60_000 + b"\r\n\r\n")
        assert (await read(reader)).status == 200
    writer.close()


@pytest.mark.slow
async def test_who_says_nothing_is_not_kept(server: Server) -> None:
    loop = asyncio.get_running_loop()

    async def kept_s(wire: bytes) -> float:
        reader, writer = await server.connect()
        writer.write(wire)
        since_s = loop.time()
        assert await is_closed(reader)
        writer.close()
        return loop.time() - since_s

    times_s = await asyncio.gather(kept_s(b""), kept_s(b"GET /healthz HTTP/1.1\r\nA"))
    assert min(times_s) > HEAD_MAX_S - 1


async def test_what_can_be_got_can_be_asked_after(server: Server, tenant: Caller) -> None:
    reader, writer = await server.connect()
    for path in ("/healthz", "/docs", "/v1/usage", "/nothing"):
        shown = await tenant.get(path)
        line = f"HEAD {path} HTTP/1.1\r\nAuthorization: Bearer {tenant.key}\r\n"
        writer.write(line.encode() + HOST + b"\r\n")
        answer = await read(reader, head=True)
        assert answer.status == shown.status_code
        assert answer.headers["content-length"] == str(len(shown.content))
        assert answer.headers["content-type"] == shown.headers["content-type"]
    writer.close()
    good(await tenant.get("/v1/usage"))


async def test_requests_may_come_one_behind_the_other(server: Server, tenant: Caller) -> None:
    reader, writer = await server.connect()
    texts = [f"text {number}" for number in range(20)]
    writer.write(b"".join(json_request(tenant, "/v1/extract", html=text) for text in texts))
    for text in texts:
        answer = await read(reader)
        assert msgspec.json.decode(answer.body)["text"].strip() == text
    writer.close()
    assert (await tenant.usage())["operation_count"] == len(texts)
