"""The ASGI middleware, message by message: what is held is given back once, however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.asgi_client import (
    DEADLINE_S,
    END,
    GONE,
    GOOD,
    HELD,
    PART,
    SPENT,
    Client,
    Receive,
    Send,
    around,
    asking,
    ends,
    forever,
    free,
    plain,
    small_gate,
    until,
)
from tidegate import Claim, Gate, Granted, Lease, LeaseLost
from tidegate.entrypoints.middleware import asgi, exchange

pytestmark = pytest.mark.anyio


@pytest.fixture
def gate() -> Gate:
    return small_gate()


async def failing(scope: Any, receive: Receive, send: Send) -> None:
    await send({**GOOD, "status": 500})
    await send(END)
    raise RuntimeError("a bug")


async def failing_at_once(scope: Any, receive: Receive, send: Send) -> None:
    raise RuntimeError("a bug")


async def failing_midway(scope: Any, receive: Receive, send: Send) -> None:
    await send(GOOD)
    await send(PART)
    raise RuntimeError("a bug")


async def silent(scope: Any, receive: Receive, send: Send) -> None:
    pass


async def unavailable(scope: Any, receive: Receive, send: Send) -> None:
    await send({**GOOD, "status": 503})
    await send(END)


async def with_trailers(scope: Any, receive: Receive, send: Send) -> None:
    await send({**GOOD, "trailers": True})
    await send(END)
    await send({"type": "http.response.trailers", "headers": [], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": []})


async def as_a_file(scope: Any, receive: Receive, send: Send) -> None:
    await send(GOOD)
    await send({"type": "http.response.pathsend", "path": "/file"})


@pytest.mark.parametrize("claim", [HELD, SPENT], ids=["held", "spent"])
@pytest.mark.parametrize(
    ("app", "outcome", "error"),
    [
        (failing, "failed", RuntimeError),
        (failing_at_once, "failed", RuntimeError),
        (failing_midway, "failed", RuntimeError),
        (silent, "failed", None),
        (unavailable, "failed", None),
        (with_trailers, "success", None),
        (as_a_file, "success", None),
    ],
)
async def test_it_is_given_back_once_however_the_application_ends(
    gate: Gate, claim: Claim, app: Any, outcome: str, error: type[Exception] | None
) -> None:
    if error is None:
        await Client().asks(around(app, gate, claim))
    else:
        with pytest.raises(error):
            await Client().asks(around(app, gate, claim))
    assert ends(gate) == ({outcome: 1} if claim.hold else {})
    assert (free(gate), gate.leases_active) == (1, 0)


async def test_nobody_else_comes_in_before_a_cancelled_application_has_ended(gate: Gate) -> None:
    left: list[int] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        try:
            await forever(scope, receive, send)
        finally:
            await asyncio.sleep(0.01)
            left.append(free(gate))

    client = Client()
    async with asking(client, around(app, gate)) as task:
        await until(lambda: len(client.sent) > 2)
        assert free(gate) == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert left == [0]
    assert ends(gate) == {"cancelled": 1}


async def test_what_runs_after_the_answer_ends_with_the_server(gate: Gate) -> None:
    ended: list[bool] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await plain(scope, receive, send)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    client = Client()
    async with asking(client, around(app, gate)):
        await until(lambda: ends(gate) == {"success": 1})
        assert ended == []
    assert ended == [True]
    assert ends(gate) == {"success": 1}


async def listening(scope: Any, receive: Receive, send: Send) -> None:
    """Stream until the client goes, as Starlette does."""
    streaming = asyncio.create_task(forever(scope, receive, send))
    while await receive() != GONE:
        pass
    streaming.cancel()
    await asyncio.wait({streaming})


@pytest.mark.parametrize("app", [forever, listening])
async def test_a_client_that_hangs_up_gives_back(
    gate: Gate, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if app is forever:
        monkeypatch.setattr(exchange, "GRACE_S", 0.01)
    client = Client()
    async with asking(client, around(app, gate)) as task:
        await until(lambda: len(client.sent) > 2)
        assert free(gate) == 0
        client.arriving.put_nowait(GONE)
        await task
    assert ends(gate) == {"cancelled": 1}
    assert free(gate) == 1


async def test_an_application_that_only_spends_is_left_alone(gate: Gate) -> None:
    client = Client()
    async with asking(client, around(forever, gate, SPENT)) as task:
        await until(lambda: len(client.sent) > 20)
        assert not task.done()
    # Nobody read its mail.
    assert client.arriving.qsize() == 1


async def test_no_more_than_one_part_is_read_ahead(gate: Gate) -> None:
    part = {"type": "http.request", "body": b"x", "more_body": True}
    client = Client(*[part] * 10)
    async with asking(client, around(forever, gate)):
        await until(lambda: len(client.sent) > 20)
        assert client.arriving.qsize() == 9


async def test_reading_ahead_loses_nothing(gate: Gate) -> None:
    parts = [f"{number}," for number in range(50)]

    async def echo(scope: Any, receive: Receive, send: Send) -> None:
        await send(GOOD)
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await send({**PART, "body": message["body"]})
            await asyncio.sleep(0)
        assert await receive() == await receive() == GONE
        await send(END)

    arriving = [
        {"type": "http.request", "body": part.encode(), "more_body": part != parts[-1]}
        for part in parts
    ]
    client = Client(*arriving, GONE)
    await client.asks(around(echo, gate))
    assert client.body == "".join(parts).encode() + b"end"


async def test_requests_wait_their_turn_and_are_served_in_it(gate: Gate) -> None:
    inside, most = 0, 0

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.001)
        inside -= 1
        await plain(scope, receive, send)

    governed = around(app, gate, timeout_s=DEADLINE_S)
    clients = [Client() for _ in range(20)]
    await asyncio.gather(*(client.asks(governed) for client in clients))
    assert [client.sent[0]["status"] for client in clients] == [200] * 20
    assert most == 1
    assert ends(gate) == {"success": 20}


async def test_who_hangs_up_while_waiting_leaves_no_trace(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "LISTEN_AFTER_S", 0.0)
    governed = around(forever, gate, timeout_s=DEADLINE_S)
    first, second = Client(), Client()
    async with asking(first, governed):
        await until(lambda: free(gate) == 0)
        async with asking(second, governed) as task:
            await until(lambda: gate.queue_depth == 1)
            second.arriving.put_nowait(GONE)
            await task
        assert second.sent == []
        assert gate.queue_depth == 0
    assert ends(gate) == {"cancelled": 1}
    assert gate.limits(SPENT)[0].remaining == 99


async def test_a_lease_is_renewed_for_as_long_as_it_takes(gate: Gate) -> None:
    client = Client()
    async with asking(client, around(forever, gate, lease_s=0.1)):
        await until(lambda: bool(gate.leases()))
        lease = gate.leases()[0]
        # Three leases later it is the same one.
        await until(lambda: gate.leases()[0].expires_us > lease.expires_us + 300_000)
        assert gate.leases()[0].id == lease.id


async def test_who_loses_its_lease_is_stopped(gate: Gate) -> None:
    client = Client()
    async with asking(client, around(forever, gate, lease_s=0.1)) as task:
        await until(lambda: bool(gate.leases()))
        gate.release_lease(gate.leases()[0].id)
        with pytest.raises(LeaseLost):
            await task


class JustLost:
    """A guard whose lease is lost in the moment in which it was given back."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def __aenter__(self) -> Lease:
        decision = self._gate.try_admit(HELD)
        assert isinstance(decision, Granted)
        self._lease = decision.lease
        return decision.lease

    async def __aexit__(self, *_: object) -> None:
        raise LeaseLost(self._lease.id)


@pytest.mark.parametrize("complete", [True, False])
async def test_a_lease_that_is_lost_after_the_answer_is_no_loss(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, complete: bool
) -> None:
    monkeypatch.setattr(gate, "hold", lambda *_, **__: JustLost(gate))
    after: list[bool] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(GOOD)
        if complete:
            await send(END)
            await asyncio.sleep(0.01)
            after.append(True)

    if complete:
        await Client().asks(around(app, gate))
        assert after == [True]
    else:
        with pytest.raises(LeaseLost):
            await Client().asks(around(app, gate))
