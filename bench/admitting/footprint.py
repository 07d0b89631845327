"""Row 6: memory for a rate key, an id record and a live lease; each in a process of its own.

tracemalloc counts what is allocated and kept while the keys come in, divided by their number. The
caller's own keys, ids and amounts are made before the count begins, for every subject alike; what
a library makes of them (prefixed keys, records) counts, and so does the lease that a holder keeps
to give it back. Dicts grow in jumps: compare runs of the same number of keys.

Run by itself, `python -m admitting.footprint SUBJECT KEYS` prints the bytes a key.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from admitting import own
from admitting.effort import Effort
from admitting.peers import require
from admitting.table import Bar, NotMeasured, Row
from tidegate import Capacity, Claim, Granted, Lease, RateLimit

BENCH = Path(__file__).parents[1]
GROUP = "memory"
MISSING = "not measured: "
TIMEOUT_S = 300.0
LIVED_S = 0.25
# Refills so slowly that no key is forgotten while the others come in.
RATE = RateLimit("requests", units=10**6, period_s=36_000, per=("tenant",))
TAKE = {"requests": 1}
HOLD = {"browsers": 1}

Fill = Callable[[list[str], list[object]], None]
"""Brings in the names, and puts into the list what callers keep; it is long enough already."""


def measure(effort: Effort) -> list[Row]:
    keys = effort.keys
    peer = ", ".join(f"{name}: {said(name, keys)}" for name in ("limits", "throttled-py"))
    bar = {size: Bar(at_most=size, unit="B") for size in (90, 300, 450)}
    return [
        row("rate key", f"a rate key, of {keys:,}", keys, bar[90], peer),
        row("id record", f"an id record, of {keys:,}", keys, bar[300]),
        row("lease", f"a live lease, of {keys:,}", keys, bar[450]),
        row("lease with own amounts", "the same, each with amounts of its own", keys, None),
    ]


def row(subject: str, what: str, keys: int, bar: Bar | None, peer: str = "-") -> Row:
    found = counted(subject, keys)
    return Row(
        group=GROUP,
        what=what,
        ours=f"{found:.0f} B",
        peer=peer,
        value=found,
        unit="B",
        bar=bar,
        figures={"ours_bytes": found, "keys": keys},
    )


def said(subject: str, keys: int) -> str:
    try:
        return f"{counted(subject, keys):.0f} B"
    except NotMeasured as why:
        return str(why)


def counted(subject: str, keys: int) -> float:
    """Count in a fresh process, so that nothing done before is in the figure."""
    command = [sys.executable, "-m", "admitting.footprint", subject, str(keys)]
    ran = subprocess.run(
        command, cwd=BENCH, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if ran.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {ran.stderr}")
    answer = ran.stdout.strip()
    if answer.startswith(MISSING):
        raise NotMeasured(answer.removeprefix(MISSING))
    return float(answer)


def rate_keys() -> Fill:
    admit = own.open_gate((RATE,)).try_admit

    def fill(names: list[str], _kept: list[object]) -> None:
        for name in names:
            own.all_granted(admit(Claim(tenant=name, take=TAKE)))

    return fill


def id_records() -> Fill:
    gate = own.open_gate((RATE,))
    own.all_granted(gate.try_admit(Claim(take=TAKE)))

    def fill(names: list[str], _kept: list[object]) -> None:
        for name in names:
            decision = gate.try_admit(Claim(take=TAKE, id=name))
            assert isinstance(decision, Granted)
            decision.lease.release()

    return fill


def leases(*, own_amounts: bool) -> Fill:
    admit = own.open_gate((Capacity("browsers", units=own.AMPLE),)).try_admit

    def fill(names: list[str], kept: list[object]) -> None:
        for number in range(len(names)):
            hold = dict(HOLD) if own_amounts else HOLD
            decision = admit(Claim(hold=hold))
            assert isinstance(decision, Granted)
            kept[number] = decision.lease
        # What a store does with leases that live on is part of what they cost.
        time.sleep(LIVED_S)
        admit(Claim(hold=HOLD))

    return fill


def limits_keys() -> Fill:
    require("limits")
    from limits import RateLimitItemPerDay
    from limits.storage import MemoryStorage
    from limits.strategies import FixedWindowRateLimiter

    storage = MemoryStorage()
    limiter, item = FixedWindowRateLimiter(storage), RateLimitItemPerDay(own.AMPLE)

    def fill(names: list[str], _kept: list[object]) -> None:
        for name in names:
            assert limiter.hit(item, name)
        storage.timer.join()

    return fill


def throttled_keys() -> Fill:
    require("throttled")
    from throttled import MemoryStore, RateLimiterType, Throttled, per_day

    store = MemoryStore(options={"MAX_SIZE": 10**7})
    throttle = Throttled(
        using=RateLimiterType.FIXED_WINDOW.value, quota=per_day(own.AMPLE), store=store
    )

    def fill(names: list[str], _kept: list[object]) -> None:
        for name in names:
            assert not throttle.limit(name).limited

    return fill


SUBJECTS: dict[str, Callable[[], Fill]] = {
    "rate key": rate_keys,
    "id record": id_records,
    "lease": lambda: leases(own_amounts=False),
    "lease with own amounts": lambda: leases(own_amounts=True),
    "limits": limits_keys,
    "throttled-py": throttled_keys,
}


def main() -> None:
    subject, keys = sys.argv[1], int(sys.argv[2])
    try:
        fill = SUBJECTS[subject]()
    except NotMeasured as why:
        print(f"{MISSING}{why}")
        return
    # As long as the usual tenant id or claim id.
    names = [f"{number:032x}" for number in range(keys)]
    kept: list[object] = [None] * keys
    gc.collect()
    tracemalloc.start()
    fill(names, kept)
    gc.collect()
    held_bytes = tracemalloc.get_traced_memory()[0]
    if isinstance(kept[0], Lease) and not kept[0].release():
        raise SystemExit("the first lease expired before the last one was granted")
    print(held_bytes / keys)


if __name__ == "__main__":
    main()
