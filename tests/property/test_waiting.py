"""Nobody waits for nothing: whatever happened before, who can be served and is first is served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate import AdmissionDenied, Capacity, Claim, Gate, Lease, RateLimit
from tidegate.domain.limit import Limit
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.turn import HoldTerms, Turn
from tidegate.testing import FakeClock

LIMITS: list[Limit] = [
    RateLimit("requests", units=4, period_s=1, burst=2, per=("tenant",)),
    Capacity("workers", units=2),
    Capacity("gpus", units=1),
]
KINDS = {
    # What the service's own workloads do: they wait for capacities alone.
    "work": ({"requests": 1}, {"workers": 1}, True, 10.0),
    "big work": ({"requests": 1}, {"workers": 2, "gpus": 1}, True, 10.0),
    # What claims do: they wait for rates, too.
    "claim": ({"requests": 1}, {"gpus": 1}, False, 0.5),
    "tokens": ({"requests": 2}, {}, False, 5.0),
}

Step = tuple[str, str | int]

STALLED: list[Step] = [
    ("tokens", "a"),
    ("work", "b"),
    ("work", "b"),
    ("tokens", "a"),
    ("pass ms", 250),
    ("work", "a"),
    ("work", "a"),
    ("leave", 0),
    ("pass ms", 600),
    ("release", 1),
    ("release", 1),
]
"""Two wait behind a claim at a rate; when it leaves, the first of them moves on to the workers."""

joins = st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(["a", "b"]))
releases = st.tuples(st.just("release"), st.integers(0, 3))
leaves = st.tuples(st.just("leave"), st.integers(0, 3))
passing = st.tuples(st.just("pass ms"), st.sampled_from([10, 250, 600]))


class Scene:
    """A gate, claims in its queue, and time that is moved by hand."""

    def __init__(self, gate: AdmissionGate, clock: FakeClock) -> None:
        self.gate, self.clock = gate, clock
        self.turns: list[Turn] = []
        self.leases: list[Lease] = []

    def do(self, step: Step) -> None:
        name, detail = step
        if name in KINDS:
            take, hold, capacities_only, timeout_s = KINDS[name]
            claim = Claim(tenant=str(detail), take=take, hold=hold)
            terms = HoldTerms(
                timeout_s=timeout_s, lease_s=3600, capacities_only=capacities_only, holder=""
            )
            self.turns.append(Turn(self.gate, claim, terms, lambda: None, self.gate.elapsed_s()))
        elif name == "release" and int(detail) < len(self.leases):
            self.leases.pop(int(detail)).release()
        elif name == "leave" and int(detail) < len(self.turns):
            self.turns.pop(int(detail)).abandon()
        elif name == "pass ms":
            self.clock.advance(seconds=int(detail) / 1000)
        self.poll()

    def poll(self) -> None:
        """Let every turn do what its driver would do when its timer rings or it is woken."""
        before = None
        while before != (before := (len(self.turns), len(self.leases))):
            self.turns = [turn for turn in self.turns if not self.answered(turn)]

    def answered(self, turn: Turn) -> bool:
        if turn.poll(self.gate.elapsed_s()) is not None:
            return False
        with suppress(AdmissionDenied):
            self.leases.append(turn.result().lease)
        return True

    def check(self) -> None:
        """See that each waiter is refused by a limit now, or stands behind one that is."""
        queue = self.gate.queue
        for waiter in queue._lines:
            if queue._ahead_of(waiter.claim, waiter.order, None) is None:
                denied = self.gate.explain(waiter.claim)
                assert denied is not None, f"{waiter.claim} waits for nothing"


@contextmanager
def scene() -> Iterator[Scene]:
    clock = FakeClock()
    gate = Gate(LIMITS, clock=clock)
    yield Scene(gate, clock)
    gate.close()


@settings(max_examples=300, deadline=None)
@given(st.lists(joins | releases | leaves | passing, max_size=40))
@example(STALLED)
def test_nobody_waits_for_nothing(steps: list[Step]) -> None:
    with scene() as it:
        for step in steps:
            it.do(step)
            it.check()
        while it.leases:
            it.do(("release", 0))
            it.check()
        for _ in range(200):
            it.do(("pass ms", 250))
            while it.leases:
                it.do(("release", 0))
        assert it.gate.queue_depth == 0
