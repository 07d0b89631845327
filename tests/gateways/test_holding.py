"""Requests at once: what each gateway holds, who gives it back, and when it ends by itself."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.gateways.app import App
from tests.gateways.conftest import Stage, stage
from tests.gateways.gateway import KINDS, Gateway, gateway
from tests.integration.serving import DEADLINE_S, open_folder, until

LEASE_S = 30.0
"""As the example of the settings has it."""

HOLDING = [name for name in KINDS if name != "envoy-ratelimit"]
"""The rate limit service knows no end of a request, so nothing is held there."""
RELEASING = [name for name in HOLDING if KINDS[name].releases]
SILENT = [name for name in HOLDING if not KINDS[name].releases]
"""Those that never tell when a request is done."""


def each_of(names: list[str]) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.needs(KINDS[name].program)) for name in names]


@contextmanager
def two_waiting(gate: Gateway, tenant: str, app: App) -> Iterator[list[Future[httpx.Response]]]:
    """Two requests that the application keeps waiting: all that a tenant may have at once."""
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(gate.get, "/reports/slow", tenant) for _ in range(2)]
        try:
            for _ in waiting:
                assert app.waiting.acquire(timeout=DEADLINE_S)
            yield waiting
        finally:
            app.go.set()


def give_back(gates: Stage, key: dict[str, str], answer: httpx.Response) -> None:
    """Do what the application can, where the gateway cannot."""
    lease = answer.json()["headers"].get("x-tidegate-lease")
    if lease:
        gone = gates.service.client.delete(f"/v1/leases/{lease}", headers=key)
        assert gone.status_code == 204, gone.text


@pytest.mark.parametrize("name", each_of(HOLDING))
def test_one_more_at_once_is_refused(name: str, gates: Stage, app: App) -> None:
    tenant, key = gates.tenant()
    with gateway(name, gates.folder, gates.ports) as gate:
        with two_waiting(gate, tenant, app) as waiting:
            refused = gate.get("/reports/one-more", tenant)
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.headers["RateLimit"].startswith('"reports";r=0')
            for spelt in (b"/%72eports/x", b"//reports/x", b"/x/../reports/x", b"/./reports"):
                named = {"X-Tenant-ID": tenant}
                otherwise = gate.client.get("/", headers=named, extensions={"target": spelt})
                assert otherwise.status_code == 429, spelt
            assert gate.get("/other", tenant).status_code == 200
            other, other_key = gates.tenant()
            of_another = gate.get("/reports/of-another", other)
            assert of_another.status_code == 200
            give_back(gates, other_key, of_another)
        for each in waiting:
            answer = each.result(DEADLINE_S)
            assert answer.status_code == 200
            give_back(gates, key, answer)
        until(lambda: gates.held() == 0, "nothing is held")


@pytest.mark.parametrize("name", each_of(RELEASING))
@pytest.mark.parametrize("status", [200, 500])
def test_the_end_of_a_request_gives_back_what_it_held(
    name: str, status: int, gates: Stage, app: App
) -> None:
    tenant, _ = gates.tenant()
    with gateway(name, gates.folder, gates.ports) as gate:
        for _ in range(10):
            assert gate.get(f"/reports/one?status={status}", tenant).status_code == status
            until(lambda: gates.held() == 0, "nothing is held")


@pytest.mark.needs("nginx")
def test_nginx_gives_back_what_an_aborted_request_held(gates: Stage, app: App) -> None:
    tenant, _ = gates.tenant()
    with gateway("nginx", gates.folder, gates.ports) as gate:
        with gate.begin("/reports/slow", tenant):
            assert app.waiting.acquire(timeout=DEADLINE_S)
            assert gates.held() == 1
        until(lambda: gates.held() == 0, "nothing is held, while the application still works")


@pytest.mark.needs("nginx")
def test_nginx_gives_back_whenever_clients_hang_up(app: App) -> None:
    """Also in the moment in which the check is under way."""
    with open_folder() as folder, stage(app, folder) as own:
        tenant, _ = own.tenant()
        with gateway("nginx", folder, own.ports) as gate:
            for number in range(300):
                with gate.begin("/reports/x", tenant) as client:
                    # Closing resets the connection, at once or a little later.
                    reset = struct.pack("ii", 1, 0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    time.sleep(number % 10 / 5_000)
            until(lambda: own.held() == 0, "nothing is held", within_s=LEASE_S / 2)


@pytest.mark.needs("haproxy")
def test_haproxy_gives_it_back_once_the_application_is_done(gates: Stage, app: App) -> None:
    tenant, _ = gates.tenant()
    with gateway("haproxy", gates.folder, gates.ports) as gate:
        with gate.begin("/reports/slow", tenant):
            assert app.waiting.acquire(timeout=DEADLINE_S)
        assert gates.held() == 1
        app.go.set()
        until(lambda: gates.held() == 0, "nothing is held")


@pytest.mark.parametrize("name", each_of(SILENT))
def test_elsewhere_the_application_gives_it_back(name: str, gates: Stage) -> None:
    tenant, key = gates.tenant()
    with gateway(name, gates.folder, gates.ports) as gate:
        told = gate.get("/reports/one", tenant).json()["headers"]
    assert told["x-tidegate-tenant"] == tenant
    assert gates.held() == 1
    for _ in range(2):
        path = f"/v1/leases/{told['x-tidegate-lease']}"
        assert gates.service.client.delete(path, headers=key).status_code == 204
    assert gates.held() == 0


@pytest.mark.parametrize("name", each_of(SILENT))
def test_or_it_ends_by_itself(name: str, app: App) -> None:
    with (
        open_folder() as folder,
        stage(app, folder, ((r"lease_s: 30", "lease_s: 1"),)) as short,
        gateway(name, folder, short.ports) as gate,
    ):
        tenant, _ = short.tenant()
        answer = gate.get("/reports/one", tenant)
        assert answer.json()["headers"]["x-tidegate-lease"]
        until(lambda: short.held() == 0, "the lease has ended by itself")
