"""Who is refused while work goes badly, for how long, and that asking changes nothing."""

from __future__ import annotations

import pytest

from tidegate import Capacity, Claim, Denied, Gate, Granted
from tidegate.errors import AdmissionDenied, InvalidRequest
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.shedding import STALE_US, Shedding
from tidegate.testing import FakeClock

LOW, USUAL, HIGH = (Claim(hold={"seats": 1}, priority=each) for each in (499, 500, 501))


class Scene:
    """A gate that asks, and the monitor that it listens to."""

    def __init__(self, priority_min: int = 500) -> None:
        self.clock, self.monitor = FakeClock(), PerformanceMonitor()
        shedding = Shedding(self.monitor, self.clock, priority_min=priority_min)
        self.gate = Gate([Capacity("seats", units=9)], precheck=shedding, clock=self.clock)

    def fail(self, times: int = 30) -> None:
        for _ in range(times):
            self.monitor.record_timeout("render", 3_000_000)

    def reason(self, claim: Claim) -> str:
        explained = self.gate.explain(claim)
        decision = self.gate.try_admit(claim)
        if isinstance(decision, Granted):
            assert explained is None
            decision.release()
            return ""
        assert explained == decision
        return decision.reason


@pytest.mark.parametrize(
    ("priority_min", "refused"),
    [
        pytest.param(500, [LOW], id="below the default"),
        pytest.param(501, [LOW, USUAL], id="below what plans allow to all"),
        pytest.param(0, [], id="off"),
    ],
)
def test_low_priorities_are_refused_while_work_goes_badly(
    priority_min: int, refused: list[Claim]
) -> None:
    scene = Scene(priority_min)
    assert [scene.reason(claim) for claim in (LOW, USUAL, HIGH)] == ["", "", ""]
    scene.fail()
    for claim in (LOW, USUAL, HIGH):
        assert scene.reason(claim) == ("degraded" if claim in refused else "")
    assert scene.gate.decisions["degraded"] == len(refused)
    for _ in range(100):
        scene.monitor.record_operation("render", 100_000, True)
    assert [scene.reason(claim) for claim in (LOW, USUAL, HIGH)] == ["", "", ""]
    scene.gate.close()


def test_a_judgement_that_nothing_was_added_to_is_forgotten_until_something_ends() -> None:
    scene = Scene()
    scene.fail()
    assert scene.reason(LOW) == "degraded"
    scene.clock.advance(us=STALE_US - 1)
    assert scene.reason(LOW) == "degraded"
    scene.clock.advance(us=1)
    assert scene.reason(LOW) == scene.reason(LOW) == ""
    scene.fail(1)
    assert scene.reason(LOW) == "degraded"
    scene.gate.close()


def test_those_who_would_wait_are_refused_at_once() -> None:
    scene = Scene()
    scene.fail()
    with pytest.raises(AdmissionDenied) as refused, scene.gate.hold_sync(LOW, timeout_s=5):
        pass
    assert refused.value.denied == Denied(reason="degraded")
    scene.gate.close()


@pytest.mark.parametrize("priority", [-1, 1_001])
def test_no_priority_is_named(priority: int) -> None:
    with pytest.raises(InvalidRequest, match="priority_min"):
        Scene(priority)
