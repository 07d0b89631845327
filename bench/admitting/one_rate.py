"""Row 1: one rate, one key, in memory, in one thread; through a claim, and by the direct face."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from admitting import own, peers
from admitting.effort import Effort
from admitting.table import Bar, NotMeasured, Row, nanoseconds
from admitting.timing import Subject, Timings, cpu_ns, middle, times
from tidegate import Claim, RateLimit

GROUP = "rate"
REUSED = "one rate, claim reused"
NEW = "one rate, new claim each time"
DIRECT = "one rate, gate.limiter(name).take(key)"


def measure(effort: Effort) -> list[Row]:
    rivals, absent = peers.present(peers.fixed_window, peers.throttled_gcra, peers.pyrate_gcra)
    subjects, reasons = [reused(), new()], {DIRECT: ""}
    try:
        subjects.append(direct())
    except NotMeasured as why:
        reasons[DIRECT] = str(why)
    timings = cpu_ns([*subjects, *rivals], calls=effort.calls, repeats=effort.repeats)
    bars = {
        REUSED: own.must(at_least=(2.5, 8)),
        NEW: own.must(at_least=(2.5, 5)),
        DIRECT: own.must(at_least=(6, 6)),
    }
    rows = [
        faster(GROUP, name, timings, peers.FIXED_WINDOW, bar, reason=reasons.get(name, ""))
        for name, bar in bars.items()
    ]
    rows += [
        faster(GROUP, REUSED, timings, rival.name, None)
        for rival in rivals
        if rival.name != peers.FIXED_WINDOW
    ]
    return rows + [Row(group=GROUP, what=REUSED, peer=why) for why in absent]


def reused() -> Subject:
    admit = own.open_gate(own.ONE_RATE).try_admit
    claim = own.one_rate_claim()

    def run(items: Iterable[Any]) -> object:
        decision: object = None
        for _ in items:
            decision = admit(claim)
        return decision

    return Subject(name=REUSED, run=run, check=own.all_granted)


def new() -> Subject:
    admit = own.open_gate(own.ONE_RATE).try_admit

    def run(items: Iterable[Any]) -> object:
        decision: object = None
        for _ in items:
            decision = admit(Claim(tenant="acme", take={"requests": 1}))
        return decision

    return Subject(name=NEW, run=run, check=own.all_granted)


def direct() -> Subject:
    take = direct_face(own.ONE_RATE)
    see_that_it_takes()

    def run(items: Iterable[Any]) -> None:
        for _ in items:
            take("acme")

    return Subject(name=DIRECT, run=run)


def direct_face(limits: tuple[RateLimit, ...]) -> Callable[[str], object]:
    gate: Any = own.open_gate(limits)
    if not hasattr(gate, "limiter"):
        raise NotMeasured("not built: gate.limiter")
    take: Callable[[str], object] = gate.limiter("requests").take
    return take


def see_that_it_takes() -> None:
    """Take two of five units and look at what is left, so that the face is known to do its work."""
    gate: Any = own.open_gate((RateLimit("requests", units=5, period_s=1000, per=("tenant",)),))
    take = gate.limiter("requests").take
    take("acme")
    take("acme")
    (state,) = gate.limits(Claim(tenant="acme"))
    if state.remaining != 3:
        raise AssertionError(f"two takes of five left {state.remaining}")


def faster(
    group: str, name: str, timings: Timings, rival: str, bar: Bar | None, *, reason: str = ""
) -> Row:
    """Return how many times faster than the rival one subject is."""
    mine = middle(timings, name) if name in timings else None
    its = middle(timings, rival) if rival in timings else None
    figures = {} if mine is None else {"ours_ns": mine}
    return Row(
        group=group,
        what=name,
        ours=reason if mine is None else nanoseconds(mine),
        peer=f"{rival}: " + ("not installed" if its is None else nanoseconds(its)),
        value=None if mine is None or its is None else times(timings, rival, name),
        bar=bar,
        figures=figures if its is None else {**figures, "peer_ns": its},
    )
