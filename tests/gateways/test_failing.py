"""What each gateway does when the service is gone, hangs, or comes back: closed, or open."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.gateways.app import App
from tests.gateways.conftest import Stage, serve
from tests.gateways.gateway import APP, ENVOY, HAPROXY, HTTP, KINDS, Gateway, gateway
from tests.integration.serving import free_port, open_folder, until

EVERY = [pytest.param(name, marks=pytest.mark.needs(kind.program)) for name, kind in KINDS.items()]
PATIENCE_S = 10.0
"""Longest that a client is kept waiting for a service that hangs; the guide says about a second."""


def nowhere(gates: Stage) -> dict[int, int]:
    """Ports where nobody listens, but for the application's."""
    return {HTTP: free_port(), ENVOY: free_port(), HAPROXY: free_port(), APP: gates.ports[APP]}


@pytest.mark.parametrize("name", EVERY)
def test_without_the_service_nothing_passes(name: str, gates: Stage, app: App) -> None:
    with gateway(name, gates.folder, nowhere(gates)) as gate:
        answer = gate.get("/while-down", "tenant-1")
    assert answer.status_code == KINDS[name].closed_status
    assert "/while-down" not in app.asked


@pytest.mark.parametrize("name", EVERY)
def test_without_the_service_all_passes_if_the_gate_is_to_be_open(name: str, gates: Stage) -> None:
    with gateway(name, gates.folder, nowhere(gates), changes=KINDS[name].opens) as gate:
        answer = gate.get("/while-down-and-open", "tenant-1")
        assert answer.status_code == 200, answer.text
        assert answer.json()["path"] == "/while-down-and-open"


@pytest.mark.parametrize("name", EVERY)
def test_an_open_gate_still_refuses(name: str, gates: Stage) -> None:
    tenant, _ = gates.tenant(burst=1, per_second=1)
    with gateway(name, gates.folder, gates.ports, changes=KINDS[name].opens) as gate:
        answers = [gate.get("/open", tenant).status_code for _ in range(5)]
        assert {200, 429} == set(answers)
        assert gate.get("/open", "nobody").status_code in (403, 404, 429)
        other, _ = gates.tenant()
        for status in (403, 500, 502, 503):
            assert gate.get(f"/open?status={status}", other).status_code == status


@pytest.fixture
def stopped(gates: Stage) -> Iterator[None]:
    """The service hangs."""
    gates.service.process.send_signal(signal.SIGSTOP)
    yield
    gates.service.process.send_signal(signal.SIGCONT)
    until(gates.service.ready, "the service goes on")


@pytest.mark.parametrize("name", EVERY)
def test_a_service_that_hangs_keeps_nobody_waiting(
    name: str, gates: Stage, app: App, stopped: None
) -> None:
    kind = KINDS[name]
    with gateway(name, gates.folder, gates.ports) as gate:
        started_s = time.monotonic()
        answer = gate.get(f"/hung-{name}", "tenant-1")
        assert time.monotonic() - started_s < PATIENCE_S
    assert answer.status_code == (kind.stalled_status or kind.closed_status)
    assert f"/hung-{name}" not in app.asked


@pytest.mark.needs(*sorted({kind.program for kind in KINDS.values()}))
def test_every_gateway_finds_a_service_that_was_started_again(app: App) -> None:
    own = {ENVOY: free_port(), HAPROXY: free_port()}
    with open_folder() as folder, ExitStack() as stack:
        with serve(folder, own) as (service, ports):
            key = service.tenant("acme")
            everywhere = {**ports, APP: app.port}
            every = {name: stack.enter_context(gateway(name, folder, everywhere)) for name in KINDS}
            assert {name: passes(gate) for name, gate in every.items()} == dict.fromkeys(
                every, True
            )
            assert service.end(signal.SIGKILL) == -signal.SIGKILL
        for name, gate in every.items():
            assert gate.get("/", "acme").status_code == KINDS[name].closed_status, name
        with serve(folder, own, port=ports[HTTP]) as (service, _):
            assert service.client.get("/v1/limits", headers=key).status_code == 200
            for name, gate in every.items():
                until(lambda gate=gate: passes(gate), f"{name} passes requests again")  # type: ignore[misc]
            assert service.end() == 0


def passes(gate: Gateway) -> bool:
    return gate.get("/", "acme").status_code == 200
