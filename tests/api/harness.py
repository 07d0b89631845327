"""The service as its callers see it: over ASGI in this process, with the parts behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec.structs import replace

from tests.api.site import HOST, Site
from tidegate import bootstrap
from tidegate.bootstrap import Settings
from tidegate.domain.rate_limit_fields import PROBLEM_TYPES
from tidegate.entrypoints.http.app import create_app
from tidegate.facades.service import Service

ADMIN_KEY = "tga_the-key-of-these-tests"
PATIENCE_S = 30.0
GIB = 2**30

BASE: dict[str, Any] = {
    "admin_key": ADMIN_KEY,
    "egress": {"allow": [HOST, "127.0.0.3"]},
    "hosts": {"units": 1000, "period_s": 1.0, "burst": 1000},
    # The machine that tests run on is not what they are about.
    "memory": {"limit_bytes": 64 * GIB},
    "browser": {"path": "/nonexistent/chromium"},
}
"""No browser and no host limit to speak of; what a module wants otherwise it says in SETTINGS."""

_numbers = count(1)


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with `changes` put in, section by section."""
    both = {**tree}
    for name, value in changes.items():
        old = both.get(name)
        both[name] = {**old, **value} if isinstance(old, dict) else value
    return both


def settings_of(changes: Mapping[str, Any]) -> Settings:
    """Return the settings of these tests with `changes` put in."""
    return msgspec.convert(merged(BASE, changes), Settings)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who shows this key. `id` is the tenant's, empty for an admin."""

    http: httpx.AsyncClient
    key: str
    id: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request, with `json`, `content`, `files`, `headers` as httpx takes them."""
        own = {"Authorization": f"Bearer {self.key}", **self.extra}
        headers = {**own, **request.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **request)

    async def get(self, path: str, **request: Any) -> httpx.Response:
        """Send a GET."""
        return await self.call("GET", path, **request)

    async def post(self, path: str, body: Any = None, **request: Any) -> httpx.Response:
        """Send a POST with a JSON body, unless `request` brings another one."""
        if body is not None:
            request["json"] = body
        return await self.call("POST", path, **request)

    async def put(self, path: str, body: Any) -> httpx.Response:
        """Send a PUT with a JSON body."""
        return await self.call("PUT", path, json=body)

    async def delete(self, path: str) -> httpx.Response:
        """Send a DELETE."""
        return await self.call("DELETE", path)

    async def usage(self) -> dict[str, Any]:
        """Return what the tenant used."""
        used: dict[str, Any] = good(await self.get("/v1/usage"))
        return used

    async def remaining(self) -> dict[str, int]:
        """Return what is left of each limit."""
        limits = good(await self.get("/v1/limits"))["limits"]
        return {limit["name"]: limit["remaining"] for limit in limits}


async def new_tenant(admin: Caller, **fields: Any) -> Caller:
    """Create a tenant, on the largest plan unless said otherwise, and return it as a caller."""
    body = {"name": f"Tenant {next(_numbers)}", "plan": "enterprise", **fields}
    created = good(await admin.post("/admin/tenants", body), 201)
    return Caller(http=admin.http, key=created["api_key"], id=created["id"])


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running service in this process."""

    service: Service
    settings: Settings
    folder: Path
    http: httpx.AsyncClient
    admin: Caller
    site: Site

    async def tenant(self, **fields: Any) -> Caller:
        """Create a tenant."""
        return await new_tenant(self.admin, **fields)


@asynccontextmanager
async def opened(settings: Settings, folder: Path, site: Site) -> AsyncIterator[Api]:
    """Run the real service over a folder, behind its real application."""
    settings = replace(settings, data_dir=str(folder))
    data = bootstrap.data_folder(settings, {})
    data.create()
    service = bootstrap.open_service(settings, data)
    await service.start()
    try:
        transport = httpx.ASGITransport(create_app(service, settings))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://gate.test", timeout=None
        ) as http:
            yield Api(
                service=service,
                settings=settings,
                folder=folder,
                http=http,
                admin=Caller(http=http, key=ADMIN_KEY),
                site=site,
            )
    finally:
        await service.stop()


async def at_rest(api: Api, tasks: set[asyncio.Task[Any]]) -> None:
    """Check that nothing is held, nobody waits, and no task is left but those that were there.

    Work that was given up may need a moment to end.
    """
    left = {task for task in asyncio.all_tasks() if task not in tasks and not _of_pytest(task)}
    if left:
        _, pending = await asyncio.wait(left, timeout=PATIENCE_S)
        assert not pending, pending
    gate = api.service.gate
    held = gate.leases()
    for lease in held:
        # So that one test that holds on to something does not fail all that follow.
        gate.release_lease(lease.id)
    assert held == []
    assert gate.queue_depth == 0
    for pool in api.service.status._pools.values():
        assert pool.stats().in_use == 0, pool.name


async def within_one_minute(needed_s: float = 10.0) -> None:
    """Wait until the calendar minute has this long to go: quotas by the minute begin anew then."""
    left_s = 60 - time.time() % 60
    if left_s < needed_s:
        await asyncio.sleep(left_s + 0.05)


def _of_pytest(task: asyncio.Task[Any]) -> bool:
    return "TestRunner" in str(task.get_coro())


def good(response: httpx.Response, status: int = 200) -> Any:
    """Return what a good answer says."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    return response.json()


def bad(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check everything that is promised of an error, and return its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    assert "Traceback" not in response.text
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["code"] == code, problem
    assert problem["type"] == PROBLEM_TYPES.get(code, f"urn:tidegate:problem:{code}")
    assert problem["title"]
    assert problem["detail"]
    if status in (429, 503):
        assert int(response.headers["retry-after"]) >= 1
    if status == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")
    return problem


def fields(problem: dict[str, Any]) -> set[str]:
    """Return the fields that a 422 names."""
    return {entry["field"] for entry in problem["errors"]}
