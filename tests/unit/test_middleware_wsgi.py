"""The WSGI middleware, call by call: what is held is given back once, however things end."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from tidegate import Capacity, Claim, Denied, Gate, Granted, Lease, LeaseLost, RateLimit
from tidegate.entrypoints.middleware import AdmissionMiddlewareWSGI
from tidegate.errors import InvalidRequest, StoreUnavailable

DEADLINE_S = 30.0
HELD = Claim(tenant="acme", take={"requests": 1}, hold={"slots": 1})
SPENT = Claim(tenant="acme", take={"requests": 1})
Start = Callable[..., Any]


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate(
        limits=[
            RateLimit("requests", units=100, period_s=3600, per=("tenant",)),
            Capacity("slots", units=1),
        ]
    )
    yield gate
    gate.close()


def free(gate: Gate) -> int:
    (slots,) = [state for state in gate.limits(Claim()) if state.name == "slots"]
    return slots.remaining


def ends(gate: Gate) -> dict[str, int]:
    return {outcome: count for outcome, count in gate.releases.items() if count}


class Answer:
    """What a server was told by an application, which it has not closed yet."""

    def __init__(self, app: Any, method: str = "GET") -> None:
        self.status = ""
        self.headers: dict[str, str] = {}
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": ""}
        setup_testing_defaults(environ)
        self.chunks: Iterable[bytes] = app(environ, self.start)
        self.iterator = iter(self.chunks)

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.status, self.headers = status, {name.lower(): value for name, value in headers}
        return lambda data: None

    def close(self) -> None:
        getattr(self.chunks, "close", lambda: None)()

    def read(self) -> bytes:
        try:
            return b"".join(self.iterator)
        finally:
            self.close()


def around(app: Any, gate: Gate, claim: Claim | None = HELD, **options: Any) -> Any:
    governed = AdmissionMiddlewareWSGI(app, gate=gate, claim=lambda environ: claim, **options)
    # Watches that both sides of the middleware keep to PEP 3333.
    return validator(governed)


def plain(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain"), ("X-Own", "1")])
    return [b"all is ", b"well"]


def streaming(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    yield b"part"
    while True:
        yield b"part"


def test_an_answer_gets_fields_and_gives_back_when_it_is_closed(gate: Gate) -> None:
    answer = Answer(around(validator(plain), gate, legacy_headers=True))
    assert free(gate) == 0
    assert answer.read() == b"all is well"
    assert free(gate) == 1
    assert ends(gate) == {"success": 1}
    assert answer.status == "200 OK"
    assert answer.headers["x-own"] == "1"
    assert answer.headers["ratelimit"] == '"requests";r=99;t=36, "slots";r=0'
    assert answer.headers["ratelimit-policy"] == '"requests";q=100;w=3600, "slots";q=1'
    assert answer.headers["x-ratelimit-remaining"] == "0"


def test_what_is_only_spent_leaves_nothing_behind(gate: Gate) -> None:
    answer = Answer(around(plain, gate, SPENT))
    assert gate.leases_active == 0
    assert answer.read() == b"all is well"
    assert answer.headers["ratelimit"] == '"requests";r=99;t=36'


def test_what_is_not_governed_passes_as_it_is(gate: Gate) -> None:
    assert Answer(around(plain, gate, None)).read() == b"all is well"
    assert gate.decisions == {}


def test_a_client_that_hangs_up_gives_back(gate: Gate) -> None:
    closed: list[int] = []

    def app(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        try:
            yield from streaming(environ, start)
        finally:
            closed.append(free(gate))

    answer = Answer(around(app, gate))
    assert [next(answer.iterator) for _ in range(3)] == [b"part"] * 3
    assert free(gate) == 0
    answer.close()
    assert closed == [0]
    assert free(gate) == 1
    assert ends(gate) == {"cancelled": 1}


class Broken:
    """An answer that fails while it is sent, or while it is closed."""

    def __init__(self, *, in_close: bool = False) -> None:
        self.in_close = in_close

    def __call__(self, environ: dict[str, Any], start: Start) -> Broken:
        start("200 OK", [("Content-Type", "text/plain")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield b"part"
        if not self.in_close:
            raise RuntimeError("a bug")

    def close(self) -> None:
        if self.in_close:
            raise RuntimeError("a bug")


def broken_at_once(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("app", "outcome"),
    [(Broken(), "failed"), (Broken(in_close=True), "success"), (broken_at_once, "failed")],
)
def test_an_application_that_fails_gives_back(gate: Gate, app: Any, outcome: str) -> None:
    with pytest.raises(RuntimeError):
        Answer(around(app, gate)).read()
    assert free(gate) == 1
    assert ends(gate) == {outcome: 1}


def test_an_answer_of_500_has_failed(gate: Gate) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        try:
            int("no number")
        except ValueError as error:
            info = (ValueError, error, error.__traceback__)
            start("500 Internal Server Error", [("Content-Type", "text/plain")], info)
        return [b"sorry"]

    answer = Answer(around(app, gate))
    assert answer.read() == b"sorry"
    assert answer.status == "500 Internal Server Error"
    assert answer.headers["ratelimit"]
    assert ends(gate) == {"failed": 1}


def test_closing_twice_gives_back_once(gate: Gate) -> None:
    governed = AdmissionMiddlewareWSGI(plain, gate=gate, claim=lambda environ: HELD)
    answer = Answer(governed)
    assert answer.read() == b"all is well"
    answer.close()
    assert ends(gate) == {"success": 1}


def test_a_refusal_is_answered_and_the_application_hears_nothing(gate: Gate) -> None:
    told: list[Denied] = []
    governed = around(streaming, gate, on_denied=lambda environ, denied: told.append(denied))
    first = Answer(governed)
    refused, curious = Answer(governed), Answer(governed, "HEAD")
    body = refused.read()
    assert refused.status == "503 Service Unavailable"
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["content-length"]) == len(body)
    assert json.loads(body)["code"] == "exhausted"
    assert curious.read() == b""
    first.close()
    assert [denied.limit for denied in told] == ["slots"] * 2
    greedy = around(plain, gate, Claim(tenant="acme", take={"requests": 100}))
    refused = Answer(greedy)
    assert json.loads(refused.read())["code"] == "rate_limited"
    assert refused.status == "429 Too Many Requests"
    assert int(refused.headers["retry-after"]) >= 36


def test_somebody_else_may_word_the_refusal(gate: Gate) -> None:
    held = Answer(around(streaming, gate))
    assert Answer(around(streaming, gate, on_denied=lambda *_: plain)).read() == b"all is well"
    held.close()


def test_what_is_no_claim_is_answered_so(gate: Gate) -> None:
    def claim(environ: dict[str, Any]) -> Claim:
        raise InvalidRequest("X-Tenant-ID", "", "a name")

    answer = Answer(AdmissionMiddlewareWSGI(plain, gate=gate, claim=claim))
    assert answer.status == "422 Unprocessable Entity"
    assert json.loads(answer.read())["errors"][0]["field"] == "X-Tenant-ID"


@pytest.mark.parametrize(("claim", "way"), [(SPENT, "admit_sync"), (HELD, "hold_sync")])
def test_a_store_that_is_down_closes_the_door(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, claim: Claim, way: str
) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("down")

    monkeypatch.setattr(gate, way, down)
    answer = Answer(around(plain, gate, claim))
    assert json.loads(answer.read())["code"] == "store_unavailable"
    assert answer.status == "503 Service Unavailable"


def test_threads_wait_their_turn(gate: Gate) -> None:
    inside: list[int] = []
    most: list[int] = []

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        inside.append(1)
        most.append(len(inside))
        start("200 OK", [("Content-Type", "text/plain")])
        inside.pop()
        return [b"done"]

    governed = around(app, gate, timeout_s=DEADLINE_S)
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(Answer(governed).read())) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert answers == [b"done"] * 16
    assert set(most) == {1}
    assert ends(gate) == {"success": 16}


class Lost:
    """A guard whose lease is lost while the body runs."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> Lease:
        decision = self._gate.try_admit(HELD)
        assert isinstance(decision, Granted)
        return decision.lease

    def __exit__(self, *_: object) -> None:
        raise LeaseLost("lease-1")


def test_a_lost_lease_is_said_in_the_log(
    gate: Gate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "hold_sync", lambda *_, **__: Lost(gate))
    with caplog.at_level(logging.WARNING):
        assert Answer(around(plain, gate)).read() == b"all is well"
    assert "lease 'lease-1' is no longer held" in caplog.text
