"""What readiness says of parts that are well, fail, hang or lag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.pool_doubles import DEADLINE_S, scene_of, settle, until
from tests.unit.status_doubles import Launcher, Service, fine, rendering_of, running
from tidegate.adapters.memory.tenant_store import MemoryTenantStore
from tidegate.adapters.memory.usage_ledger import MemoryUsageLedger
from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.tenant_store import SqlTenantStore
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.domain.health import MIB
from tidegate.errors import StoreUnavailable
from tidegate.facades import readiness
from tidegate.facades.readiness import Component, store_check
from tidegate.facades.status import Status
from tidegate.ports.browser import BrowserReport

pytestmark = pytest.mark.anyio

USABLE = BrowserReport(usable=True, path="/x", version="1", sandboxed=True, reason=None)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running() as service:
        yield service


async def component(status: Status, name: str) -> Component:
    (found,) = [part for part in (await status.readiness()).components if part.name == name]
    return found


async def test_a_service_that_is_well(service: Service) -> None:
    service.host.memory_bytes = 100 * MIB
    await service.pressure.measure()
    service.clock.advance(seconds=2.5)
    report = await service.status.readiness()
    assert report.ready
    assert not report.draining
    assert {part.name: part.state for part in report.components} == dict.fromkeys(
        ("store", "browsers", "pdf", "wasm", "memory", "performance"), "ok"
    )
    details = {part.name: part.detail for part in report.components}
    assert details["store"] == "fine"
    assert details["memory"] == (
        "100 of 1000 MiB used or promised, refusing from 85 %; measured 100 MiB, 2.5 s ago"
    )


async def test_draining_makes_unready(service: Service) -> None:
    service.status.draining = True
    report = await service.status.readiness()
    assert (report.ready, report.draining) == (False, True)
    assert all(part.state == "ok" for part in report.components)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (StoreUnavailable("the disk is gone"), "the disk is gone"),
        (OSError(5, "bad sector"), "OSError: [Errno 5] bad sector"),
        (TimeoutError(), "TimeoutError: "),
        (asyncio.CancelledError(), "the check was cancelled after 0.0 s"),
    ],
)
async def test_only_what_is_essential_makes_unready(
    service: Service, error: BaseException, detail: str
) -> None:
    async def fail() -> str:
        raise error

    lost = service.of({"store": fail})
    assert not (await lost.readiness()).ready
    assert await component(lost, "store") == Component(name="store", state="failed", detail=detail)
    spare = service.of({"store": fine, "egress": fail})
    assert (await spare.readiness()).ready
    assert (await component(spare, "egress")).state == "failed"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_store_is_really_read(service: Service, tmp_path: Path, kind: str) -> None:
    database = Database(tmp_path / "tidegate.db")
    await database.open()
    check = store_check(SqlUsageLedger(database), SqlTenantStore(database))
    if kind == "memory":
        check = store_check(MemoryUsageLedger(), MemoryTenantStore())
    status = service.of({"store": check})
    assert (await status.readiness()).ready
    await database.close()
    assert (await status.readiness()).ready is (kind == "memory")


async def test_a_store_that_can_be_read_but_not_written_is_not_ready(
    service: Service, tmp_path: Path
) -> None:
    database = Database(tmp_path / "tidegate.db")
    await database.open()
    check = store_check(SqlUsageLedger(database), SqlTenantStore(database))
    status = service.of({"store": check})
    (tmp_path / "tidegate.db").rename(tmp_path / "elsewhere.db")
    readiness = await status.readiness()
    assert not readiness.ready
    await database.close()


class Hanging:
    """A check that hangs until it is let go, and may refuse to be cancelled."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.asked = self.cancelled = 0
        self.go, self._stubborn = asyncio.Event(), stubborn

    async def __call__(self) -> str:
        self.asked += 1
        while True:
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self._stubborn:
                    raise
            else:
                return "back"


async def test_a_hanging_part_is_reported_and_asked_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_MAX_S", 0.05)
    check = Hanging()
    status = service.of({"store": check, "other": fine})
    async with asyncio.timeout(DEADLINE_S):
        reports = await asyncio.gather(*(status.readiness() for _ in range(20)))
        reports.append(await status.readiness())
    assert not any(report.ready for report in reports)
    states = {part.name: part for part in reports[-1].components}
    assert states["store"].state == "failed"
    assert states["store"].detail.startswith("the check has not ended after 0.")
    assert states["other"].state == "ok"
    assert (check.asked, check.cancelled) == (1, 0)
    check.go.set()
    assert (await status.readiness()).ready
    assert (await component(status, "store")).detail == "back"


async def test_a_caller_that_leaves_takes_no_answer_from_others(service: Service) -> None:
    check = Hanging()
    status = service.of({"store": check})
    leaver, stayer = (asyncio.create_task(status.readiness()) for _ in range(2))
    await settle()
    leaver.cancel()
    await settle()
    check.go.set()
    assert (await stayer).ready
    assert leaver.cancelled()
    assert check.asked == 1


async def test_a_part_that_hangs_for_long_is_asked_anew(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_MAX_S", 0.02)
    monkeypatch.setattr(readiness, "HUNG_S", 0.0)
    check = Hanging()
    status = service.of({"store": check})
    for asked in (1, 2):
        assert not (await status.readiness()).ready
        await settle()
        assert (check.asked, check.cancelled) == (asked, asked)
    check.go.set()
    assert (await status.readiness()).ready


async def test_a_part_that_cannot_be_cancelled_holds_nothing_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_MAX_S", 0.02)
    monkeypatch.setattr(readiness, "HUNG_S", 0.0)
    check = Hanging(stubborn=True)
    status = service.of({"store": check})
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(3):
            assert not (await status.readiness()).ready
        await status.stop()
    assert (check.asked, check.cancelled) == (1, 4)
    check.go.set()
    assert (await status.readiness()).ready


async def test_stop_ends_what_hangs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "CHECK_MAX_S", 0.02)
    check = Hanging()
    status = service.of({"store": check})
    await status.readiness()
    await status.stop()
    await status.stop()
    assert check.cancelled == 1


@pytest.mark.parametrize(
    ("found", "state", "detail"),
    [
        pytest.param(USABLE, "ok", "0 of 3 lent, 0 idle, 0 failed", id="usable"),
        pytest.param(
            BrowserReport(
                usable=False, path=None, version=None, sandboxed=False, reason="none was found"
            ),
            "degraded",
            "none was found",
            id="none there",
        ),
        pytest.param(
            BrowserReport(usable=True, path="/x", version="1", sandboxed=False, reason=None),
            "degraded",
            "browsers run without a sandbox",
            id="no sandbox",
        ),
        pytest.param(
            OSError("no memory"), "degraded", "the search for a browser failed: no memory", id="bug"
        ),
    ],
)
async def test_browsers_are_as_the_probe_found_them(
    service: Service, found: BrowserReport | Exception, state: str, detail: str
) -> None:
    launcher = Launcher(found)
    rendering = rendering_of(service, launcher)
    status = service.of({"store": fine}, rendering=rendering)
    await rendering.start()
    assert (await component(status, "browsers")).state == "starting"
    launcher.go.set()
    await settle()
    report = await component(status, "browsers")
    assert (report.state, report.detail) == (state, detail)
    assert (await status.readiness()).ready
    await rendering.stop()


async def test_a_search_that_was_ended_is_told(service: Service) -> None:
    rendering = rendering_of(service, Launcher(USABLE))
    status = service.of({"store": fine}, rendering=rendering)
    await rendering.start()
    await settle()
    await rendering.stop()
    report = await component(status, "browsers")
    assert (report.state, report.detail) == ("degraded", "the search for a browser was ended")


async def test_a_pool_is_starting_well_failing_or_stopped(service: Service) -> None:
    async with scene_of(size=2, keep_warm=1) as pdf:
        service.pdf = pdf
        status = service.of({"store": fine})
        pdf.factory.starting.clear()
        await pdf.pool.start()
        assert (await component(status, "pdf")).state == "starting"
        pdf.factory.starting.set()
        await until(lambda: pdf.pool.stats().idle == 1)
        assert (await component(status, "pdf")).state == "ok"
        pdf.factory.failing = 1_000
        pdf.factory.workers[0].alive = False
        await until(lambda: pdf.pool.stats().failed > 0 and not pdf.pool.stats().idle)
        report = await component(status, "pdf")
        assert report.state == "degraded"
        assert report.detail.startswith("none is running: 0 of 2 lent, 0 idle, ")
        await pdf.pool.stop()
        report = await component(status, "pdf")
        assert (report.state, report.detail[:8]) == ("degraded", "stopped:")
        assert (await status.readiness()).ready


async def test_memory_and_performance_degrade_and_stay_ready(service: Service) -> None:
    assert "not measured: not measured yet" in (await component(service.status, "memory")).detail
    service.host.memory_bytes = 850 * MIB
    await service.pressure.measure()
    for _ in range(20):
        service.monitor.record_timeout("render", 3_000_000)
    report = await service.status.readiness()
    assert report.ready
    parts = {part.name: (part.state, part.detail) for part in report.components}
    assert parts["memory"][0] == "degraded"
    assert parts["memory"][1].startswith("850 of 1000 MiB")
    assert parts["performance"] == ("degraded", "score 1.00, P95 3.000 s of late")
