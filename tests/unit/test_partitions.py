"""Guaranteed shares of one capacity: borrowed while idle, theirs again under saturation."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tidegate import Capacity, Claim, Denied, Gate, Granted
from tidegate.config import load_settings
from tidegate.errors import InvalidSetting
from tidegate.facades.adaptive import AdaptiveCapacity
from tidegate.testing import FakeClock

pytestmark = pytest.mark.anyio

SHARES = {"interactive": 0.5, "batch": 0.25}
LIMIT = Capacity("browsers", units=8, per=("class",), partitions=SHARES)


def claim(kind: str | None, tenant: str = "acme", units: int = 1) -> Claim:
    attributes = {} if kind is None else {"class": kind}
    return Claim(tenant=tenant, hold={"browsers": units}, attributes=attributes)


@pytest.mark.parametrize(
    ("units", "interactive", "batch", "default"),
    [(8, 4, 2, 2), (9, 4, 2, 3), (1, 0, 0, 1), (100, 50, 25, 25)],
)
def test_shares_are_exact_and_the_rest_is_the_default(
    units: int, interactive: int, batch: int, default: int
) -> None:
    limit = Capacity("browsers", units=units, per=("class",), partitions=SHARES)
    found = [limit.share(name) for name in ("interactive", "batch", "default")]
    assert found == [interactive, batch, default]
    assert sum(found) == units


@pytest.mark.parametrize("kind", ["interactive", "batch", "default", "never heard of", None])
def test_one_partition_alone_has_everything_and_no_more(kind: str | None) -> None:
    gate = Gate([LIMIT])
    for _ in range(8):
        assert isinstance(gate.try_admit(claim(kind)), Granted)
    for other in ("interactive", "batch", kind):
        denied = gate.try_admit(claim(other))
        assert isinstance(denied, Denied)
        assert (denied.reason, denied.limit, denied.remaining) == ("exhausted", "browsers", 0)
        assert gate.explain(claim(other)) is not None
    gate.close()


def test_values_that_are_unknown_share_the_default_partition() -> None:
    gate = Gate([LIMIT])
    for kind in ("x", "y", None, "*", "default"):
        assert isinstance(gate.try_admit(claim(kind)), Granted)
    states = {kind: gate.limits(claim(kind))[0] for kind in ("interactive", "z")}
    assert (states["z"].scope, states["z"].remaining) == (("default",), 3)
    gate.close()


@pytest.mark.parametrize("tenants", [1, 5])
async def test_under_saturation_each_partition_gets_its_share(tenants: int) -> None:
    """Batch holds everything and many more of it wait; then the others come."""
    gate = Gate([LIMIT])
    served: Counter[str] = Counter()
    holding: Counter[str] = Counter()
    ending = asyncio.Event()

    async def work(kind: str, tenant: str) -> None:
        while not ending.is_set():
            async with gate.hold(claim(kind, tenant)):
                holding[kind] += 1
                assert holding.total() <= 8
                await asyncio.sleep(0.001)
                served[kind] += 1
                holding[kind] -= 1
            if served.total() > 1_000:
                ending.set()

    def crowd(kind: str, count: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(work(kind, f"t{n % tenants}")) for n in range(count)]

    tasks = crowd("batch", 40)
    while gate.queue_depth < 32:
        await asyncio.sleep(0)
    assert gate.leases_active == 8
    tasks += crowd("interactive", 12) + crowd("other", 12)
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    share = {kind: count / served.total() for kind, count in served.items()}
    assert share["interactive"] >= 0.4
    assert share["batch"] >= 0.2
    assert share["other"] >= 0.2
    gate.close()


async def test_one_that_waits_for_its_share_goes_before_those_who_borrow() -> None:
    gate = Gate([LIMIT])
    held = [gate.try_admit(claim("batch")) for _ in range(8)]
    order: list[str] = []

    async def wait(kind: str) -> None:
        async with gate.hold(claim(kind)):
            order.append(kind)

    tasks = [asyncio.create_task(wait(kind)) for kind in ("batch", "batch", "interactive")]
    while gate.queue_depth < 3:
        await asyncio.sleep(0)
    for lease in held[:3]:
        assert isinstance(lease, Granted)
        lease.release()
        await asyncio.sleep(0.01)
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    assert order[0] == "interactive"
    gate.close()


def test_shares_move_with_an_adaptive_ceiling() -> None:
    clock = FakeClock()
    gate = Gate([Capacity("browsers", units=20)], clock=clock)
    adaptive = AdaptiveCapacity(gate, "browsers", algorithm="aimd", minimum=4, partitions=SHARES)
    before = [gate.try_admit(claim("batch")) for _ in range(20)]
    assert isinstance(gate.try_admit(claim("interactive")), Denied)
    clock.advance(seconds=1)
    for lease in before:
        assert isinstance(lease, Granted)
        lease.release("timeout")
    assert adaptive.units == 18
    limit = gate.policy.limit_named("browsers")
    assert isinstance(limit, Capacity)
    assert [limit.share(name) for name in ("interactive", "batch", "default")] == [9, 4, 5]
    assert sum(isinstance(gate.try_admit(claim("batch")), Granted) for _ in range(30)) == 18
    gate.close()


def test_what_was_held_before_partitions_came_goes_back_without_harm() -> None:
    gate = Gate([Capacity("browsers", units=8)])
    early = gate.try_admit(claim("batch", units=3))
    AdaptiveCapacity(gate, "browsers", algorithm="aimd", partitions=SHARES)
    assert isinstance(early, Granted)
    assert early.release()
    assert sum(isinstance(gate.try_admit(claim("batch")), Granted) for _ in range(30)) == 8
    gate.close()


def test_partitions_are_declared_in_settings(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yml"
    shape = "limits: [{kind: capacity, resource: gpu, units: 8, per: [class], partitions: %s}]"
    file.write_text(shape % "{interactive: 0.5}")
    (limit,) = load_settings({"TIDEGATE_CONFIG": str(file)}, folder=tmp_path).own_limits()
    assert isinstance(limit, Capacity)
    assert (limit.share("interactive"), limit.share("default")) == (4, 4)
    file.write_text(shape % "{interactive: 1.5}")
    with pytest.raises(InvalidSetting, match=r"limits\[0\].partitions.interactive"):
        load_settings({"TIDEGATE_CONFIG": str(file)}, folder=tmp_path)
