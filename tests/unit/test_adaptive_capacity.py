"""A capacity of a gate that moves: what it learns from, what it leaves alone, what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from tidegate import Capacity, Claim, Denied, Gate, Granted, RateLimit
from tidegate.domain.adaptive import Aimd, Gradient2
from tidegate.domain.lease import Outcome
from tidegate.domain.limit import Limit
from tidegate.domain.overrides import Override, Pattern
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidLimit
from tidegate.facades.adaptive import SAMPLES_MIN, AdaptiveCapacity
from tidegate.testing import FakeClock

pytestmark = pytest.mark.anyio

BROWSER = Claim(hold={"browsers": 1})


def gate_of(units: int = 10, **terms: Any) -> tuple[Gate, FakeClock]:
    clock = FakeClock()
    return Gate([Capacity("browsers", units=units)], clock=clock, **terms), clock


def window(gate: Gate, clock: FakeClock, outcome: Outcome = "success", *, held_s: float) -> None:
    """Hold a browser ten times at once for so long, and let every one end in that way."""
    leases = [gate.try_admit(BROWSER) for _ in range(SAMPLES_MIN)]
    clock.advance(seconds=held_s)
    for lease in leases:
        assert isinstance(lease, Granted)
        lease.release(outcome)


def room(gate: Gate, claim: Claim = BROWSER) -> int:
    """Count how many can be had now."""
    leases: list[Granted] = []
    while isinstance(decision := gate.try_admit(claim), Granted):
        leases.append(decision)
    for lease in leases:
        gate.void_lease(lease)
    return len(leases)


@pytest.mark.parametrize(
    ("outcome", "held_s", "units"),
    [
        pytest.param("success", 1.0, 21, id="quick and used"),
        pytest.param("success", 3.0, 18, id="slower than allowed"),
        pytest.param("failed", 1.0, 18, id="failed"),
        pytest.param("timeout", 1.0, 18, id="timed out"),
        pytest.param("cancelled", 1.0, 20, id="given up by callers, which says nothing"),
    ],
)
def test_how_leases_end_moves_the_ceiling(outcome: Outcome, held_s: float, units: int) -> None:
    gate, clock = gate_of(20)
    adaptive = AdaptiveCapacity(gate, "browsers", algorithm=Aimd(latency_max_s=2.0), maximum=40)
    window(gate, clock, outcome, held_s=held_s)
    assert adaptive.units == room(gate) == units
    gate.close()


def test_a_few_failures_are_the_callers_own() -> None:
    gate, clock = gate_of(20)
    adaptive = AdaptiveCapacity(gate, "browsers", algorithm="aimd", maximum=40)
    leases = [gate.try_admit(BROWSER) for _ in range(20)]
    clock.advance(seconds=1)
    for index, lease in enumerate(leases):
        assert isinstance(lease, Granted)
        lease.release("failed" if index == 3 else "success")
    assert adaptive.units >= 20
    gate.close()


def test_drops_may_be_timeouts_alone() -> None:
    gate, clock = gate_of(20)
    adaptive = AdaptiveCapacity(gate, "browsers", algorithm="aimd", drops=("timeout",))
    window(gate, clock, "failed", held_s=1)
    assert adaptive.units == 20
    window(gate, clock, "timeout", held_s=1)
    assert adaptive.units == 18
    gate.close()


def test_nobody_is_evicted_and_what_is_given_back_goes_to_those_who_wait() -> None:
    gate, clock = gate_of(12)
    adaptive = AdaptiveCapacity(gate, "browsers", algorithm="aimd", minimum=4)
    held = [gate.try_admit(BROWSER) for _ in range(12)]
    clock.advance(seconds=1)
    for lease in held[:10]:
        assert isinstance(lease, Granted)
        lease.release("timeout")
    assert adaptive.units == 10
    assert gate.leases_active == 2
    assert room(gate) == 8
    gate.close()


async def test_a_raised_ceiling_serves_those_who_wait() -> None:
    gate, clock = gate_of(10)
    AdaptiveCapacity(gate, "browsers", algorithm=Aimd(step=5), maximum=40)
    leases = [gate.try_admit(BROWSER) for _ in range(SAMPLES_MIN)]
    woken = threading.Event()
    queue = gate.queue
    for _ in range(13):
        queue.join(BROWSER, 30_000_000, "", woken.set, capacities_only=False)
    assert gate.queue_depth == 13
    clock.advance(seconds=1)
    for lease in leases:
        assert isinstance(lease, Granted)
        lease.release()
    assert gate.queue_depth == 0
    gate.close()


def test_windows_are_twice_as_long_as_work_takes() -> None:
    gate, clock = gate_of(10)
    adaptive = AdaptiveCapacity(gate, "browsers", algorithm="aimd", maximum=99)
    window(gate, clock, held_s=4)
    assert adaptive.units == 11
    window(gate, clock, held_s=4)
    assert adaptive.units == 11
    window(gate, clock, held_s=4)
    assert adaptive.units == 12
    gate.close()


def test_what_others_swap_is_kept_and_the_ceiling_is_put_back() -> None:
    gate, clock = gate_of(10)
    adaptive = AdaptiveCapacity(gate, "browsers", algorithm="aimd", maximum=40)
    window(gate, clock, held_s=1)
    limits: list[Limit] = [
        Capacity("browsers", units=10),
        RateLimit("requests", units=9, period_s=1),
    ]
    mine = Policy(limits, overrides={"acme": {}}, weights={"acme": 3})
    gate.set_policy(adaptive.put_into(mine))
    assert room(gate) == 11
    window(gate, clock, held_s=2)
    assert room(gate) == 12
    assert gate.policy.weights == {"acme": 3}
    gate.set_policy(Policy([RateLimit("requests", units=9, period_s=1)]))
    adaptive.close()
    assert adaptive.put_into(gate.policy) is gate.policy
    gate.close()


def test_it_hears_nothing_after_its_end_and_the_store_calls_nobody() -> None:
    gate, clock = gate_of(10)
    one = AdaptiveCapacity(gate, "browsers", algorithm="aimd", maximum=40)
    one.close()
    one.close()
    window(gate, clock, held_s=1)
    assert one.units == 10
    assert gate._store.on_released is None
    gate.close()


def test_many_threads_that_release_at_once_lose_nothing() -> None:
    gate, clock = gate_of(64)
    adaptive = AdaptiveCapacity(gate, "browsers", algorithm=Aimd(), maximum=1_000, window_s=0.001)
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(300):
            decision = gate.try_admit(BROWSER)
            clock.advance(us=500)
            if isinstance(decision, Granted):
                decision.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert gate.leases_active == 0
    limit = gate.policy.limit_named("browsers")
    assert limit.units == adaptive.units
    assert room(gate) == adaptive.units
    gate.close()


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        pytest.param({"limit": "pages"}, "limit", id="no such limit"),
        pytest.param({"limit": "requests"}, "limit", id="no capacity"),
        pytest.param({"limit": "sessions"}, "limit", id="divided, without partitions"),
        pytest.param({"limit": "gpu"}, "limit", id="with a reserve"),
        pytest.param({"algorithm": "vegas"}, "algorithm", id="unknown algorithm"),
        pytest.param({"minimum": 0}, "minimum", id="minimum of nothing"),
        pytest.param({"minimum": 5, "maximum": 4}, "minimum", id="bounds crossed"),
        pytest.param({"window_s": 0}, "window_s", id="no window"),
        pytest.param({"drops": ("late",)}, "drops", id="unknown outcome"),
        pytest.param({"partitions": {"a": 0.7, "b": 0.4}}, "partitions", id="above the whole"),
        pytest.param({"partitions": {"a": -0.1}}, "partitions.a", id="negative share"),
        pytest.param({"partitions": {"a": 1}, "partition_by": "tenant"}, "per", id="by tenant"),
    ],
)
def test_what_makes_no_sense_is_named(terms: Mapping[str, Any], field: str) -> None:
    limits: list[Limit] = [
        Capacity("browsers", units=10),
        Capacity("sessions", units=3, per=("tenant",)),
        Capacity("gpu", units=3, reserve=1),
        RateLimit("requests", units=1, period_s=1),
    ]
    gate = Gate(limits)
    with pytest.raises(InvalidLimit) as refused:
        AdaptiveCapacity(gate, **{"limit": "browsers", **terms})
    assert refused.value.field == field
    assert gate._store.on_released is None
    gate.close()


def test_a_gate_that_other_processes_share_is_refused() -> None:
    shared: Any = object()
    with pytest.raises(InvalidLimit) as refused:
        AdaptiveCapacity(shared, "browsers")
    assert refused.value.field == "gate"


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"latency_max_s": 0}, "latency_max_s"),
        ({"backoff": 1.0}, "backoff"),
        ({"step": 0}, "step"),
    ],
)
def test_numbers_of_aimd_are_checked(terms: Mapping[str, Any], field: str) -> None:
    with pytest.raises(InvalidLimit) as refused:
        Aimd(**terms)
    assert refused.value.field == field


@pytest.mark.parametrize("field", ["tolerance", "smoothing", "queue", "long_window", "probe_every"])
def test_numbers_of_gradient2_are_checked(field: str) -> None:
    with pytest.raises(InvalidLimit) as refused:
        Gradient2(**{field: 0})
    assert refused.value.field == field


def test_one_limit_is_replaced_and_all_else_kept() -> None:
    limits = [Capacity("browsers", units=4), Capacity("browsers", units=2, name="each")]
    overrides: dict[Pattern, dict[str, Override]] = {("acme",): {"sessions": Override(units=9)}}
    policy = Policy(
        [*limits, Capacity("sessions", units=1, per=("tenant",))],
        overrides=overrides,
        cohorts={"family": ["a", "b"]},
        weights={"a": 2},
    )
    other = policy.with_limit(Capacity("browsers", units=7))
    assert [limit.units for limit in other.limits] == [7, 2, 1]
    assert [limit.units for limit in other.limits_on("browsers")] == [7, 2]
    assert other.limit("sessions", ("acme",)).units == 9
    ask = other.ask(Claim(tenant="acme", hold={"browsers": 2}), lease_us=1, now_us=0)
    assert [rule.ceiling for rule, _, _ in ask.rows] == [7, 2]
    assert (other.cohort_of, other.weights) == (policy.cohort_of, policy.weights)
    assert [limit.units for limit in policy.limits] == [4, 2, 1]
    for wrong in (Capacity("pages", units=1), RateLimit("browsers", units=1, period_s=1)):
        with pytest.raises(InvalidLimit):
            policy.with_limit(wrong)


def test_a_moved_limit_leaves_what_was_spent_of_others() -> None:
    clock = FakeClock()
    rate = RateLimit("requests", units=10, period_s=60, per=("tenant",))
    overrides: dict[Pattern, dict[str, Override]] = {"acme": {"requests": Override(units=3)}}
    gate = Gate([Capacity("browsers", units=4), rate], overrides=overrides, clock=clock)
    ask = Claim(tenant="acme", take={"requests": 1})
    for _ in range(3):
        assert isinstance(gate.try_admit(ask), Granted)
    gate.set_policy(gate.policy.with_limit(Capacity("browsers", units=7)))
    denied = gate.try_admit(ask)
    assert isinstance(denied, Denied)
    assert denied.retry_after_us == 20_000_000
    clock.advance(seconds=20)
    assert isinstance(gate.try_admit(ask), Granted)
    gate.close()
