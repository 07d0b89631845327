"""How the wire of an event loop is connected: passwords, TLS, sockets, silence, crowds."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.integration.redis_wires import PATIENT, PEM, SHORT_US, at, both_loops
from tests.servers.proxy import Proxy
from tests.servers.valkey import Valkey
from tidegate.adapters.redis.address import parse_address
from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint, Node
from tidegate.adapters.redis.reply import ServerError
from tidegate.adapters.redis.tls import Tls
from tidegate.adapters.redis.wire import AsyncWire
from tidegate.errors import StoreUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.needs("valkey_own")]
pytest_plugins = ["tests.servers.fixtures"]
anyio_backend = both_loops


@pytest.fixture(scope="module")
def guarded() -> Iterator[Valkey]:
    """A server with a password."""
    with Valkey(password="open sesame") as server:
        yield server


@pytest.mark.parametrize(
    ("user", "password", "kind"),
    [
        ("", "open sesame", None),
        ("default", "open sesame", None),
        ("", "open barley", "WRONGPASS"),
        ("ann", "open sesame", "WRONGPASS"),
        ("", "", "NOAUTH"),
    ],
)
async def test_passwords(guarded: Valkey, user: str, password: str, kind: str | None) -> None:
    endpoint = Endpoint(
        node=Node(host="127.0.0.1", port=guarded.port), user=user, password=password, db=3
    )
    wire = AsyncWire(endpoint, PATIENT)
    if kind is None:
        await wire.connect()
        assert b" db=3 " in await wire.call("CLIENT", "LIST", "ID", wire.server["id"])
    else:
        with pytest.raises(ServerError) as caught:
            await wire.connect()
        assert caught.value.kind == kind
        assert not wire.connected
        assert password not in str(caught.value) or not password
    await wire.close()


async def test_an_impossible_database_is_refused(redis_endpoint: Endpoint) -> None:
    wire = AsyncWire(replace(redis_endpoint, db=9999), PATIENT)
    with pytest.raises(ServerError, match="out of range"):
        await wire.connect()


async def test_a_unix_socket_will_do(own_valkey: Valkey) -> None:
    address = parse_address(f"unix://{own_valkey.socket_path}?db=1")
    async with AsyncWire(address.endpoint(), PATIENT) as wire:
        assert await wire.call("PING") == b"PONG"


async def test_everyone_shares_one_attempt_to_connect(valkey_proxy: Proxy) -> None:
    wire = AsyncWire(at(valkey_proxy.port), PATIENT)
    first = asyncio.create_task(wire.connect())
    others = [asyncio.create_task(wire.connect()) for _ in range(100)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(*others)
    assert valkey_proxy.accepted == 1
    assert wire.connected
    await wire.close()
    valkey_proxy.refuse()
    attempts = await asyncio.gather(*(wire.connect() for _ in range(100)), return_exceptions=True)
    assert {type(attempt) for attempt in attempts} == {StoreUnavailable}


@pytest.mark.parametrize("tls", [None, Tls(verify=False)], ids=["plain", "tls"])
async def test_a_server_that_accepts_and_is_silent_costs_the_connect_timeout(
    valkey_proxy: Proxy, tls: Tls | None
) -> None:
    valkey_proxy.stall()
    node = Node(host="127.0.0.1", port=valkey_proxy.port)
    wire = AsyncWire(Endpoint(node=node, tls=tls), Bounds(connect_timeout_us=SHORT_US))
    with pytest.raises(StoreUnavailable, match=r"no answer in time|TLS failed"):
        await wire.connect()
    await wire.close()


@pytest.mark.parametrize(
    ("tls", "host", "reason"),
    [
        (Tls(ca_file=PEM), "127.0.0.1", None),
        (Tls(ca_file=PEM, check_hostname=False), "localhost", None),
        (Tls(verify=False), "localhost", None),
        (Tls(ca_file=PEM), "localhost", "its certificate is not trusted: Hostname mismatch"),
        (Tls(), "127.0.0.1", "its certificate is not trusted: self-signed certificate"),
    ],
)
async def test_tls(own_valkey: Valkey, tls: Tls, host: str, reason: str | None) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    with Proxy(own_valkey.port, tls=context) as proxy:
        wire = AsyncWire(Endpoint(node=Node(host=host, port=proxy.port), tls=tls), PATIENT)
        if reason is None:
            await wire.connect()
            # Several records of TLS at once: what is read on must not be read into a copy.
            long = bytes(range(256)) * 400
            assert await asyncio.gather(*(wire.call("ECHO", long) for _ in range(9))) == 9 * [long]
            replies = await asyncio.gather(*(wire.call("ECHO", n) for n in range(1000)))
            assert replies == [str(n).encode() for n in range(1000)]
            proxy.cut()
            with suppress(StoreUnavailable):
                await wire.call("PING")
            assert not wire.connected
        else:
            with pytest.raises(StoreUnavailable, match=reason):
                await wire.connect()
        await wire.close()


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (Node(host="no-such-host.invalid", port=1), "its name cannot be resolved"),
        (Node(host="h..i", port=1), "its name cannot be resolved"),
        (Node(path="/nowhere"), "no such file or directory"),
    ],
)
async def test_an_address_that_leads_nowhere_is_named(node: Node, reason: str) -> None:
    wire = AsyncWire(Endpoint(node=node), PATIENT)
    with pytest.raises(StoreUnavailable, match=f"{node}: {reason}"):
        await wire.connect()
    with pytest.raises(StoreUnavailable, match=f"{node}: not connected"):
        await wire.call("PING")
