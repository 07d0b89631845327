"""The ASGI middleware: what is added to answers, and what is answered instead."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.unit.asgi_client import (
    END,
    GOOD,
    HELD,
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
from tidegate import Claim, Denied, Gate
from tidegate.entrypoints.middleware import AdmissionMiddleware
from tidegate.errors import InvalidRequest, StoreUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def gate() -> Gate:
    return small_gate()


@pytest.mark.parametrize("claim", [HELD, SPENT], ids=["held", "spent"])
async def test_an_answer_gets_fields_and_everything_is_given_back(gate: Gate, claim: Claim) -> None:
    held: list[int] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        held.append(gate.leases_active)
        await plain(scope, receive, send)
        # Background tasks run here.
        held.append(gate.leases_active)

    client = Client()
    await client.asks(around(app, gate, claim, legacy_headers=True, partition_keys=True))
    assert held == ([1, 0] if claim.hold else [0, 0])
    assert ends(gate) == ({"success": 1} if claim.hold else {})
    assert client.body == b"end"
    slots = ', "slots";r=0' if claim.hold else ""
    key = ";pk=:giszrYfBSKCiClun:"
    assert client.headers["x-own"] == "1"
    assert client.headers["ratelimit"] == f'"requests";r=99;t=36{key}{slots}'
    policy = f'"requests";q=100;w=3600{key}{slots.replace("r=0", "q=1")}'
    assert client.headers["ratelimit-policy"] == policy
    assert client.headers["x-ratelimit-limit"] == ("1" if claim.hold else "100")


async def test_what_is_not_governed_passes_as_it_is(gate: Gate) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    receive: Any = Client().receive
    send: Any = Client().send
    await around(app, gate)({"type": "lifespan"}, receive, send)
    await around(app, gate, None)({"type": "http"}, receive, send)
    assert [each[1:] for each in seen] == [(receive, send)] * 2
    assert gate.decisions == {}


async def test_a_refusal_is_answered_and_the_application_hears_nothing(gate: Gate) -> None:
    told: list[Denied] = []
    governed = around(forever, gate, on_denied=lambda scope, denied: told.append(denied))
    async with asking(Client(), governed):
        await until(lambda: free(gate) == 0)
        client, curious = Client(), Client()
        await client.asks(governed)
        await curious.asks(governed, method="HEAD")
    assert client.sent[0]["status"] == 503
    assert client.headers["content-type"] == "application/problem+json"
    assert int(client.headers["content-length"]) == len(client.body)
    left = r'"slots";r=0(;t=\d+)?, "requests";r=99'
    assert re.fullmatch(left, client.headers["ratelimit"])
    assert client.headers["ratelimit-policy"] == '"slots";q=1, "requests";q=100;w=3600'
    assert int(client.headers["retry-after"]) >= 1
    problem = json.loads(client.body)
    assert (problem["code"], problem["violated-policies"]) == ("exhausted", ["slots"])
    assert curious.body == b""
    assert int(curious.headers["content-length"]) > 100
    assert [denied.reason for denied in told] == ["exhausted"] * 2


async def test_somebody_else_may_word_the_refusal(gate: Gate) -> None:
    async def own(scope: Any, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        await send({**GOOD, "status": 418})
        await send(END)

    greedy = Claim(tenant="acme", take={"requests": 100})
    governed = around(plain, gate, greedy, on_denied=lambda scope, denied: own)
    first, second = Client(), Client()
    await first.asks(governed)
    await second.asks(governed)
    assert [client.sent[0]["status"] for client in (first, second)] == [200, 418]
    assert "ratelimit" not in second.headers


async def test_what_is_no_claim_is_answered_so(gate: Gate) -> None:
    def claim(scope: Any) -> Claim:
        raise InvalidRequest("X-Tenant-ID", "\ud800", "a name")

    client, other = Client(), Client()
    await client.asks(AdmissionMiddleware(plain, gate=gate, claim=claim))
    assert client.sent[0]["status"] == 422
    problem = json.loads(client.body)
    assert (problem["code"], problem["errors"][0]["field"]) == ("invalid_request", "X-Tenant-ID")
    await other.asks(around(plain, gate, Claim(take={"unheard_of": 1})))
    assert json.loads(other.body)["code"] == "invalid_claim"


@pytest.mark.parametrize(("claim", "way"), [(SPENT, "admit"), (HELD, "hold")])
async def test_a_store_that_is_down_closes_the_door(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, claim: Claim, way: str
) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("down")

    monkeypatch.setattr(gate, way, down)
    # Nobody asks it a second time for how the limits stand.
    monkeypatch.setattr(gate, "limits", down)
    client = Client()
    await client.asks(around(plain, gate, claim))
    assert client.sent[0]["status"] == 503
    assert json.loads(client.body)["code"] == "store_unavailable"


async def test_limits_that_cannot_be_told_are_not_told(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("down")

    monkeypatch.setattr(gate, "limits", down)
    client = Client()
    await client.asks(around(plain, gate))
    assert client.sent[0]["status"] == 200
    assert "ratelimit" not in client.headers


async def test_the_application_s_own_errors_are_its_own(gate: Gate) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        raise InvalidRequest("own", 1, "2")

    for claim in (HELD, SPENT):
        with pytest.raises(InvalidRequest):
            await Client().asks(around(app, gate, claim))


async def chat(scope: Any, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": "echo"})


async def test_a_socket_holds_until_it_is_closed(gate: Gate) -> None:
    client = Client({"type": "websocket.connect"})
    async with asking(client, around(chat, gate), type="websocket") as task:
        await until(lambda: bool(client.sent))
        assert free(gate) == 0
        client.arriving.put_nowait({"type": "websocket.disconnect"})
        await task
    assert ends(gate) == {"success": 1}


@pytest.mark.parametrize(
    ("extensions", "sent"),
    [
        (None, [("websocket.close", 1013)]),
        (
            {"websocket.http.response": {}},
            [("websocket.http.response.start", 503), ("websocket.http.response.body", None)],
        ),
    ],
)
async def test_a_socket_is_refused_before_it_is_accepted(
    gate: Gate, extensions: Any, sent: list[Any]
) -> None:
    async with asking(Client(), around(forever, gate)):
        await until(lambda: free(gate) == 0)
        client = Client({"type": "websocket.connect"})
        await client.asks(around(chat, gate), type="websocket", extensions=extensions)
    told = [
        (message["type"], message.get("code", message.get("status"))) for message in client.sent
    ]
    assert told == sent
    if extensions:
        assert json.loads(client.body)["code"] == "exhausted"
    else:
        assert client.sent[0]["reason"] == "exhausted"


def test_nobody_waits_for_less_than_nothing(gate: Gate) -> None:
    with pytest.raises(InvalidRequest):
        around(plain, gate, timeout_s=-1)
