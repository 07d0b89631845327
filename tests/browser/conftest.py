"""One launcher, one site and one guard for all tests of a file: starting them takes a second."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.site import Site
from tidegate.adapters.chromium.launcher import ChromiumLauncher
from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.domain.egress import EgressPolicy
from tidegate.ports.browser import Browser
from tidegate.ports.egress_guard import Passage

AS_ROOT = os.geteuid() == 0
UID_BASE = 71_000
"""Not the default: a service that runs on the same machine has its browsers there."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="tidegate-test-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder, "chromium")


@pytest.fixture
def work_dir() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
async def launcher() -> AsyncIterator[ChromiumLauncher]:
    with open_folder() as folder:
        launcher = ChromiumLauncher(
            work_dir=folder, uid_base=UID_BASE, user_agent="Tidegate-Test/1"
        )
        yield launcher
        await launcher.stop()


@pytest.fixture(scope="module")
async def shared(launcher: ChromiumLauncher) -> AsyncIterator[list[Browser]]:
    """The browser that the tests of a file share, and its successor where one was killed."""
    browsers: list[Browser] = []
    yield browsers
    for browser in browsers:
        await browser.close()


@pytest.fixture
async def browser(launcher: ChromiumLauncher, shared: list[Browser]) -> Browser:
    if not shared or not shared[-1].alive:
        shared.append(await launcher.launch())
    return shared[-1]


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    async with Site() as site:
        yield site


@pytest.fixture(scope="module")
async def guard(site: Site) -> AsyncIterator[FilteringProxy]:
    """The real guard, which lets through to the site and to nothing else on this machine."""
    guard = FilteringProxy(EgressPolicy.parse(f"127.0.0.1:{site.port}"))
    await guard.start()
    yield guard
    await guard.stop()


@pytest.fixture
def passage(guard: FilteringProxy) -> Iterator[Passage]:
    passage = guard.open("acme")
    yield passage
    passage.close()
