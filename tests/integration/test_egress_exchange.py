"""Requests and answers that overlap, come in pieces, or break off on the way through the guard."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct

import pytest

from tests.integration.remote import (
    PATIENCE_S,
    answer,
    ask,
    connect,
    guarding,
    head_for,
    serving,
    silence,
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


async def test_a_body_is_carried_while_it_is_being_sent() -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readexactly(6)
        writer.write(answer(body.upper()))

    async with serving({"/": take}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        passage = guard.open("acme")
        reader, writer = await connect(passage)
        line = f"POST http://127.0.0.1:{remote.port}/"
        writer.write(head_for(passage, line, "Content-Length: 6", "Expect: 100-continue"))
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(b"abc")
            await asyncio.sleep(0.05)
            writer.write(b"def")
            assert (await reader.read()).endswith(b"\r\n\r\nABCDEF")
        writer.close()


async def test_a_second_request_that_comes_late_is_not_read_either() -> None:
    waiting = asyncio.Event()

    async def think(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waiting.wait()
        writer.write(answer(b"public"))

    async with serving({"/": think}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        passage = guard.open("acme")
        reader, writer = await connect(passage)
        line = f"GET http://127.0.0.1:{remote.port}/"
        writer.write(head_for(passage, line))
        while not remote.heads:
            await asyncio.sleep(0.01)
        writer.write(head_for(passage, line) * 10)
        await asyncio.sleep(0.05)
        waiting.set()
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.read()).endswith(b"public")
        writer.close()
    assert len(remote.heads) == 1


async def test_an_answer_before_the_end_of_the_request() -> None:
    async def too_large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"too large", status="413 Content Too Large"))

    async with serving({"/": too_large}) as remote:
        async with guarding(f"127.0.0.1:{remote.port}") as guard:
            line = f"POST http://127.0.0.1:{remote.port}/"
            body = b"x" * 500_000
            got = await ask(guard.open("acme"), line, f"Content-Length: {len(body)}", body=body)
    assert status_of(got) == 413
    assert got.endswith(b"too large")


async def test_a_body_that_breaks_its_own_rules() -> None:
    async with serving({"/": silence}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        line = f"POST http://127.0.0.1:{remote.port}/"
        got = await ask(
            guard.open("acme"), line, "Transfer-Encoding: chunked", body=b"not a size\r\n"
        )
        async with asyncio.timeout(PATIENCE_S):
            await remote.gone.wait()
    assert status_of(got) == 400


async def test_a_server_that_resets() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger_no_time = struct.pack("ii", 1, 0)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_no_time)
        writer.transport.abort()

    async with serving({"/": reset}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        got = await ask(guard.open("acme"), f"GET http://127.0.0.1:{remote.port}/")
    assert got.startswith(b"HTTP/1.1 502 it broke off the connection\r\n")


async def test_without_descriptors_connections_wait() -> None:
    async with guarding("") as guard:
        passage = guard.open("acme")
        port = int(passage.proxy_url.rpartition(":")[2])
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head_for(passage, "GET http://10.0.0.1/"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                await asyncio.sleep(0.3)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            client.settimeout(PATIENCE_S)
            assert status_of(await asyncio.to_thread(client.recv, 1000)) == 403
