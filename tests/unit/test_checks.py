"""Checks behind the wires: debts, releases, and what is written down."""

from __future__ import annotations

import pytest

from tidegate import Capacity, Claim, Denied, Granted, Quota, RateLimit
from tidegate.adapters.memory.usage_ledger import MemoryUsageLedger
from tidegate.bootstrap import Gate
from tidegate.domain.check import Asked, CheckRule, CheckRules
from tidegate.domain.limit import Limit, SlidingWindow
from tidegate.errors import StoreUnavailable
from tidegate.facades.checks import Checks
from tidegate.testing import FakeClock

pytestmark = pytest.mark.anyio

TENANT = ("tenant",)
LIMITS: list[Limit] = [
    RateLimit("tokens", units=1000, period_s=10, per=TENANT),
    RateLimit("ticks", units=7, period_s=3, burst=5, per=TENANT),
    Quota("operations", units=100, period="month", per=TENANT),
    SlidingWindow("calls", units=10, period_s=10, per=TENANT),
    Capacity("jobs", units=1, per=TENANT),
]
RULES = CheckRules(
    [CheckRule(path="/jobs", hold={"jobs": 1}, lease_s=5)], take={"operations": 1, "tokens": 1}
)


class Scene:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.gate = Gate(LIMITS, clock=self.clock)
        self.ledger = MemoryUsageLedger()
        self.checks = Checks(self.gate, rules=RULES, ledger=self.ledger, clock=self.clock)

    def wait_us(self, resource: str, units: int = 1) -> int | None:
        denied = self.gate.explain(Claim(tenant="acme", take={resource: units}))
        return None if denied is None else denied.retry_after_us

    async def charge(self, resource: str, units: int, name: str = "1") -> None:
        await self.checks.charge(Claim(tenant="acme", take={resource: units}, id=name))


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_charge_may_be_larger_than_the_limit(scene: Scene) -> None:
    await scene.charge("tokens", 3_000)
    # 2,000 tokens above the limit, and the one that is asked for, at 100 a second.
    assert scene.wait_us("tokens") == 20_010_000
    assert scene.gate.try_admit(Claim(tenant="other", take={"tokens": 1}))
    scene.clock.advance(seconds=20.01)
    assert scene.wait_us("tokens") is None


async def test_charges_add_up_also_in_debt(scene: Scene) -> None:
    for number in range(5):
        await scene.charge("tokens", 700, str(number))
    assert scene.wait_us("tokens") == pytest.approx(25_010_000, abs=20_000)
    scene.clock.advance(seconds=10)
    await scene.charge("tokens", 100, "last")
    assert scene.wait_us("tokens") == pytest.approx(16_010_000, abs=20_000)


async def test_a_charge_in_debt_is_right_to_half_a_unit(scene: Scene) -> None:
    """At 7 units in 3 seconds no microsecond is a whole unit, so what is owed is rounded."""
    await scene.charge("ticks", 50, "first")
    for number in range(20):
        before_us = scene.wait_us("ticks")
        assert before_us is not None
        await scene.charge("ticks", 1 + number, str(number))
        expected_us = before_us + (1 + number) * 3_000_000 / 7
        assert scene.wait_us("ticks") == pytest.approx(expected_us, abs=1_500_000 / 7 + 2)
        scene.clock.advance(us=310_007)


@pytest.mark.parametrize("resource", ["operations", "calls"])
async def test_a_debt_of_a_window_ends_with_it(scene: Scene, resource: str) -> None:
    for number in range(3):
        await scene.charge(resource, 99, str(number))
    assert scene.wait_us(resource)
    scene.clock.advance(seconds=32 * 86_400)
    assert scene.wait_us(resource) is None


async def test_quotas_that_were_taken_are_in_the_ledger_once(scene: Scene) -> None:
    for _ in range(3):
        assert await scene.checks.check(Asked(tenant="acme", id="again"))
    assert await scene.checks.check(Asked(tenant="acme"))
    await scene.charge("operations", 10)
    assert await scene.ledger.taken(since_us=0) == {("acme", "operations"): 12}
    assert scene.gate.leases_active == 0


async def test_what_cannot_be_written_down_is_given_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> bool:
        raise StoreUnavailable("full")

    rules = CheckRules([], take={"operations": 60, "tokens": 600})
    checks = Checks(scene.gate, rules=rules, ledger=scene.ledger, clock=scene.clock)
    with monkeypatch.context() as patched:
        patched.setattr(scene.ledger, "record", full)
        for name in (None, "again"):
            with pytest.raises(StoreUnavailable):
                await checks.check(Asked(tenant="acme", id=name))
    assert isinstance(await checks.check(Asked(tenant="acme", id="again")), Granted)


async def test_a_lease_is_given_back_by_its_tenant_alone(scene: Scene) -> None:
    granted = await scene.checks.check(Asked(tenant="acme", uri="/jobs"))
    assert isinstance(granted, Granted)
    assert isinstance(await scene.checks.check(Asked(tenant="acme", uri="/jobs")), Denied)
    assert not scene.checks.release("other", granted.lease.id)
    assert scene.checks.release("acme", granted.lease.id)
    assert scene.checks.release("acme", granted.lease.id)
    assert not scene.checks.release("other", granted.lease.id)
    assert isinstance(await scene.checks.check(Asked(tenant="acme", uri="/jobs")), Granted)


async def test_leases_of_others_are_not_for_checks_to_give_back(scene: Scene) -> None:
    held = scene.gate.try_admit(Claim(tenant="acme", hold={"jobs": 1}), holder="http")
    assert isinstance(held, Granted)
    assert not scene.checks.release("acme", held.lease.id)
    assert scene.gate.leases_active == 1


async def test_a_lease_ends_by_itself(scene: Scene) -> None:
    granted = await scene.checks.check(Asked(tenant="acme", uri="/jobs"))
    assert isinstance(granted, Granted)
    scene.clock.advance(seconds=5)
    assert not scene.checks.release("acme", granted.lease.id)
    assert isinstance(await scene.checks.check(Asked(tenant="acme", uri="/jobs")), Granted)
