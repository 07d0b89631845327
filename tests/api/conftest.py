"""The real service, opened once for each module, and found at rest after each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import Api, Caller, at_rest, opened, settings_of
from tests.api.site import Site


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for a module, of the kind that the service runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
async def site(anyio_backend: object) -> AsyncIterator[Site]:
    """A web site that the service may visit."""
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture(scope="module")
async def running(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    site: Site,
) -> AsyncIterator[Api]:
    """The service of the module, with its SETTINGS."""
    folder: Path = tmp_path_factory.mktemp("data")
    settings = settings_of(getattr(request.module, "SETTINGS", {}))
    async with opened(settings, folder, site) as api:
        yield api


@pytest.fixture
async def api(running: Api) -> AsyncIterator[Api]:
    """The service; whatever a test did, nothing of it may be left."""
    tasks = asyncio.all_tasks()
    yield running
    await at_rest(running, tasks)


@pytest.fixture
async def tenant(api: Api) -> Caller:
    """A fresh tenant on the largest plan."""
    return await api.tenant()
