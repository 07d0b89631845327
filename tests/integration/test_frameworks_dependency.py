"""The FastAPI dependency, and WebSockets: what is held from before the endpoint until the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from socket import SHUT_RDWR
from typing import Any

import httpx
import pytest
import websockets
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from websockets.sync.client import ClientConnection, connect

from tests.integration.framework_apps import parts
from tests.integration.frameworks import (
    DEADLINE_S,
    SLOTS,
    HalfReader,
    asgi_server,
    free,
    gate_of,
    until,
)
from tidegate import Gate, Lease
from tidegate.entrypoints.middleware import (
    AdmissionMiddleware,
    Refused,
    admit,
    by_header,
    governed,
    problem_details,
)

CLAIM = by_header("X-Tenant", take={"requests": 1}, hold={"slots": 1})


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = gate_of(requests=20)
    yield gate
    gate.close()


def application(gate: Gate, **options: Any) -> FastAPI:
    app = FastAPI()
    held = Depends(admit(gate, claim=CLAIM, **options))

    @app.get("/hello")
    async def hello(lease: Lease = held) -> dict[str, Any]:
        return {"lease": lease.id, "free": free(gate)}

    @app.get("/stream", dependencies=[held])
    async def stream() -> StreamingResponse:
        return StreamingResponse(parts())

    @app.get("/boom", dependencies=[held])
    def boom() -> None:
        raise RuntimeError("a bug")

    @app.get("/missing", dependencies=[held])
    def missing() -> None:
        raise HTTPException(404)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, lease: Lease = held) -> None:
        await websocket.accept()
        await websocket.send_text(lease.id)
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    return app


def get(address: str, path: str, tenant: str = "acme") -> httpx.Response:
    headers = {"X-Tenant": tenant}
    return httpx.get(
        f"http://{address}{path}", headers=headers, timeout=DEADLINE_S, trust_env=False
    )


def test_it_is_held_while_the_endpoint_runs_and_told_in_the_answer(gate: Gate) -> None:
    with asgi_server(application(gate, legacy_headers=True)) as address:
        answer = get(address, "/hello")
        until(lambda: free(gate) == SLOTS, "the slot came back")
        assert get(address, "/missing").status_code == 404
        assert get(address, "/boom").status_code == 500
        until(lambda: free(gate) == SLOTS, "the slots came back")
    assert answer.json()["free"] == SLOTS - 1
    assert answer.json()["lease"]
    assert answer.headers["ratelimit"].startswith('"requests";r=19;t=')
    assert answer.headers["x-ratelimit-limit"] == "3"
    assert (gate.releases["success"], gate.releases["failed"]) == (2, 1)


def test_it_is_held_until_a_stream_has_ended(gate: Gate) -> None:
    with asgi_server(application(gate)) as address:
        readers = [HalfReader(address, "/stream") for _ in range(SLOTS)]
        assert get(address, "/hello").status_code == 503
        for reader in readers:
            reader.hang_up()
        until(lambda: free(gate) == SLOTS, "the slots came back")


def test_a_refusal_is_fastapi_s_own_or_the_body_itself(gate: Gate) -> None:
    own, bare = application(gate), application(gate)
    bare.add_exception_handler(Refused, problem_details)
    while free(gate):
        gate.try_admit(CLAIM({"type": "http", "headers": []}))  # type: ignore[arg-type]
    for app in (own, bare):
        with asgi_server(app) as address:
            answer = get(address, "/hello")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["ratelimit"].startswith('"slots";r=0')
        problem = answer.json() if app is bare else answer.json()["detail"]
        assert problem["code"] == "exhausted"
        kind = "application/problem+json" if app is bare else "application/json"
        assert answer.headers["content-type"] == kind


def dial(address: str) -> AbstractContextManager[ClientConnection]:
    return connect(
        f"ws://{address}/socket",
        additional_headers={"X-Tenant": "acme"},
        open_timeout=DEADLINE_S,
        proxy=None,
    )


@contextmanager
def dialled(address: str) -> Iterator[list[ClientConnection]]:
    """All the sockets that there is room for."""
    with ExitStack() as stack:
        yield [stack.enter_context(dial(address)) for _ in range(SLOTS)]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket application without a framework."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "a lease"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})


@pytest.mark.parametrize("governed_by", ["dependency", "middleware"])
def test_a_socket_holds_until_it_is_closed_and_is_refused_before(
    gate: Gate, governed_by: str
) -> None:
    app: Any = application(gate)
    if governed_by == "middleware":
        app = AdmissionMiddleware(echo, gate=gate, claim=CLAIM)
    with asgi_server(app) as address, dialled(address) as sockets:
        for each in sockets:
            assert each.recv(DEADLINE_S)
            each.send("hello")
            assert each.recv(DEADLINE_S) == "hello"
        assert free(gate) == 0
        with pytest.raises(websockets.InvalidStatus) as refused, dial(address):
            pass
        sockets[0].close()
        until(lambda: free(gate) == 1, "the slot came back")
        # Cut without a word.
        sockets[1].socket.shutdown(SHUT_RDWR)
        until(lambda: free(gate) == 2, "the next slot came back")
        with dial(address):
            pass
        sockets[2].close()
        until(lambda: free(gate) == SLOTS, "all slots came back")
    answer = refused.value.response
    assert answer.status_code == 503
    assert b'"exhausted"' in (answer.body or b"")
    assert answer.headers["RateLimit"].startswith('"slots";r=0')


def test_an_endpoint_of_a_socket_can_be_governed(gate: Gate) -> None:
    app = FastAPI()

    @app.websocket("/socket")
    @governed(gate, claim=CLAIM)
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.receive()

    with asgi_server(app) as address:
        with dialled(address) as sockets:
            assert [each.recv(DEADLINE_S) for each in sockets] == ["hello"] * SLOTS
            # Starlette closes it before it is accepted, which servers say by 403.
            with pytest.raises(websockets.InvalidStatus) as refused, dial(address):
                pass
        assert refused.value.response.status_code == 403
        until(lambda: free(gate) == SLOTS, "all slots came back")
