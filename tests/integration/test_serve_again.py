"""Starting and stopping the service in one process, again and again: nothing adds up."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from tests.integration.serving import DEADLINE_S, descendants, without_browser
from tidegate.bootstrap import data_folder, load_settings, open_service
from tidegate.entrypoints.ending import Ending
from tidegate.entrypoints.http import server
from tidegate.entrypoints.http.listener import bind
from tidegate.errors import StoreUnavailable
from tidegate.facades.service import Service

pytestmark = [pytest.mark.anyio, pytest.mark.needs("pdfium", "wasmtime", "linux_proc")]

TIMES, WARM_UP = 20, 2
"""The first ones load modules and start the threads that the event loop keeps for itself."""


@dataclass(frozen=True)
class Inventory:
    """What a process has."""

    tasks: int
    threads: int
    descriptors: int
    processes: int

    @classmethod
    def now(cls, others: set[int]) -> Inventory:
        """Take stock. Servers that other tests keep are `others`; their workers come and go."""
        gc.collect()
        known = others.union(*(descendants(pid) for pid in others))
        return cls(
            tasks=len(asyncio.all_tasks()),
            threads=sum(not each.name.startswith("asyncio_") for each in threading.enumerate()),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            processes=len(set(descendants(os.getpid())) - known),
        )


@pytest.mark.parametrize("patience_s", [0.0, 0.5], ids=["at once", "once it is up"])
async def test_nothing_adds_up(tmp_path: Path, patience_s: float) -> None:
    environ = {"TIDEGATE_DATA_DIR": str(tmp_path / "data"), **without_browser(tmp_path)}
    settings = load_settings(environ, folder=tmp_path)
    folder = data_folder(settings, environ)
    folder.create()
    others = set(descendants(os.getpid()))
    for number in range(WARM_UP + TIMES):
        if number == WARM_UP:
            before = Inventory.now(others)
        service = open_service(settings, folder)
        await service.start()
        if patience_s:
            await asyncio.sleep(patience_s)
            assert (await service.status.readiness()).ready
        await service.stop()
        await service.stop()
    after = Inventory.now(others)
    # What others left behind may have been let go of meanwhile.
    assert after.descriptors <= before.descriptors
    assert replace(after, descriptors=before.descriptors) == before
    left = sorted(path.name for path in folder.path.iterdir())
    assert left == ["tidegate.db"]


async def test_a_greeting_that_fails_ends_the_service(tmp_path: Path) -> None:
    environ = {
        "TIDEGATE_DATA_DIR": str(tmp_path / "data"),
        "TIDEGATE_PORT": "0",
        **without_browser(tmp_path),
    }
    settings = load_settings(environ, folder=tmp_path)
    folder = data_folder(settings, environ)
    folder.create()
    service = open_service(settings, folder)
    asked: list[str] = []

    async def ready(_: Service, address: str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:
            asked.append((await client.get(f"{address}/healthz")).text)
        raise StoreUnavailable("no room for a tenant")

    before = set(asyncio.all_tasks())
    with pytest.raises(StoreUnavailable, match="no room"):
        await server.serve(settings, service, bind(settings), ready, Ending())
    assert asked == ['{"status":"ok"}']
    assert service.status.draining
    assert set(asyncio.all_tasks()) == before
