"""The service with the settings of the example, and an application, for every test here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.gateways.app import App
from tests.gateways.gateway import (
    ADMIN_KEY,
    APP,
    ENVOY,
    HAPROXY,
    HTTP,
    KINDS,
    Gateway,
    gateway,
    rendered,
)
from tests.integration import serving
from tests.integration.serving import Running, bearer, free_port, open_folder, running

OWN_SETTINGS = """
browser: {path: /nowhere/chromium}
memory: {limit_bytes: 68719476736}
"""
_numbers = count(1)


class Stage:
    """A running service, and what stands around it."""

    def __init__(self, service: Running, folder: Path, ports: dict[int, int]) -> None:
        self.service, self.folder, self.ports = service, folder, ports

    def tenant(self, *, burst: int = 1000, per_second: int = 1000) -> tuple[str, dict[str, str]]:
        """Create a tenant; return its id and the header with its key."""
        name = f"tenant-{next(_numbers)}"
        quotas = {"requests_per_second": per_second, "requests_burst": burst}
        body = {"name": name, "id": name, "plan": "enterprise", "quotas": quotas}
        answer = self.service.client.post("/admin/tenants", json=body, headers=self.service.admin())
        assert answer.status_code == 201, answer.text
        return name, bearer(answer.json()["api_key"])

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        text = self.service.client.get("/metrics").text
        return next(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")
        )

    def held(self) -> int:
        """Return how many leases are live."""
        return int(self.metric("tidegate_leases_active"))


@contextmanager
def stage(app: App, folder: Path, changes: tuple[tuple[str, str], ...] = ()) -> Iterator[Stage]:
    """Run a service with the example's settings and these changes."""
    service = serve(folder, {ENVOY: free_port(), HAPROXY: free_port()}, changes)
    with service as (running_service, ports):
        yield Stage(running_service, folder, {**ports, APP: app.port})


@contextmanager
def serve(
    folder: Path,
    ports: dict[int, int],
    changes: tuple[tuple[str, str], ...] = (),
    port: int | None = None,
) -> Iterator[tuple[Running, dict[int, int]]]:
    """Run a service over a folder, at this port or a free one."""
    settings = folder / "settings"
    settings.mkdir(exist_ok=True)
    own = rendered("tidegate.yml", {HTTP: HTTP, **ports}, changes)
    (settings / "1.yml").write_text(own, "utf-8")
    (settings / "2.yml").write_text(OWN_SETTINGS, "utf-8")
    chosen = patch.object(serving, "free_port", return_value=port) if port else nullcontext()
    with (
        chosen,
        running(folder, TIDEGATE_CONFIG=str(settings), TIDEGATE_ADMIN_KEY=ADMIN_KEY) as service,
    ):
        yield service, {**ports, HTTP: service.port}


@pytest.fixture(scope="package")
def app() -> Iterator[App]:
    """The application."""
    app = App()
    yield app
    app.close()


@pytest.fixture(scope="package")
def gates(app: App) -> Iterator[Stage]:
    """The service that most tests here share."""
    with open_folder() as folder, stage(app, folder) as running_stage:
        yield running_stage


Start = Callable[..., Gateway]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.needs(kind.program)) for name, kind in KINDS.items()
    ],
)
def each(request: pytest.FixtureRequest, gates: Stage) -> Iterator[Gateway]:
    """Every gateway in turn, run as its example says."""
    with gateway(request.param, gates.folder, gates.ports) as running_gateway:
        yield running_gateway


@pytest.fixture(autouse=True)
def at_rest(app: App) -> Iterator[None]:
    """Whatever a test had waiting is let go."""
    app.go.clear()
    while app.waiting.acquire(blocking=False):
        pass
    yield
    app.go.set()
