"""Row 4: eight threads on one gate. First it is counted, then timed.

For the count the interpreter switches threads as often as it can, so that a step that is not
atomic is caught in the middle. The timed slices run with its default; both sides do their calls
in threads, one or eight, and the time is the CPU time of the process.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import repeat

from admitting import own, peers
from admitting.effort import Effort
from admitting.peers import require
from admitting.table import Bar, NotMeasured, Row, nanoseconds, significant
from admitting.timing import Subject, Timings, cpu_ns, middle, times
from tidegate import Capacity, Claim, Granted, RateLimit

GROUP = "threads"
THREADS = 8
LIMIT = 500
BROWSERS = 3
OFTEN_S = 1e-6
EXACTLY = Bar(at_least=1, at_most=1)
ALONE, TOGETHER = "one thread", "eight threads"
PEER_ALONE, PEER_TOGETHER = "limits, one thread", "limits, eight threads"


def measure(effort: Effort) -> list[Row]:
    calls = max(LIMIT, effort.calls)
    with switching_often():
        rows = [admitted(calls), most_held(calls)]
    own_admit = partial(own.open_gate(own.ONE_RATE).try_admit, own.one_rate_claim())
    subjects = [in_threads(ALONE, 1, own_admit), in_threads(TOGETHER, THREADS, own_admit)]
    try:
        hit = peer_hit(own.AMPLE)
        subjects += [in_threads(PEER_ALONE, 1, hit), in_threads(PEER_TOGETHER, THREADS, hit)]
    except NotMeasured:
        pass
    timings = cpu_ns(subjects, calls=effort.calls, repeats=effort.repeats)
    return [*rows, slower(timings)]


def admitted(calls: int) -> Row:
    """Count what eight threads get of a limit that they all try to pass."""
    limit = RateLimit("requests", units=LIMIT, period_s=1e6, per=("tenant",))
    admit = partial(own.open_gate((limit,)).try_admit, own.one_rate_claim())
    ours = tally(lambda: own.granted(admit()), calls)
    try:
        peer = f"limits fixed window: {tally(peer_hit(LIMIT), calls)}"
    except NotMeasured as why:
        peer = str(why)
    return Row(
        group=GROUP,
        what=f"8 threads, {calls:,} tries each on a limit of {LIMIT}: admitted",
        ours=f"{ours}",
        peer=peer,
        value=ours / LIMIT,
        bar=EXACTLY,
        figures={"ours_admitted": ours, "limit": LIMIT},
    )


def most_held(calls: int) -> Row:
    """Count how many hold one of three browsers at the same moment."""
    admit = partial(
        own.open_gate((Capacity("browsers", units=BROWSERS),)).try_admit,
        Claim(hold={"browsers": 1}),
    )
    lock = threading.Lock()
    held = most = 0

    def hold() -> bool:
        nonlocal held, most
        decision = admit()
        if not isinstance(decision, Granted):
            return False
        with lock:
            held += 1
            most = max(most, held)
        # Others get a turn while this one holds.
        time.sleep(0)
        with lock:
            held -= 1
        return decision.lease.release()

    grants = tally(hold, calls // 10)
    return Row(
        group=GROUP,
        what=f"8 threads on {BROWSERS} browsers: most held at once, of {grants:,} grants",
        ours=f"{most}",
        value=most / BROWSERS,
        bar=Bar(at_most=1),
        figures={"ours_most": most, "limit": BROWSERS, "grants": grants},
    )


def slower(timings: Timings) -> Row:
    alone, together = middle(timings, ALONE), middle(timings, TOGETHER)
    peer = "not installed"
    if PEER_ALONE in timings:
        ratio = significant(times(timings, PEER_TOGETHER, PEER_ALONE))
        peer = f"limits: {nanoseconds(middle(timings, PEER_TOGETHER))}, {ratio} x of one thread"
    return Row(
        group=GROUP,
        what="8 threads against one, one rate, CPU a decision",
        ours=f"{nanoseconds(together)}, one thread {nanoseconds(alone)}",
        peer=peer,
        value=times(timings, TOGETHER, ALONE),
        bar=Bar(at_most=2),
        figures={"ours_ns": together, "ours_one_thread_ns": alone},
    )


def peer_hit(limit: int) -> Callable[[], bool]:
    require("limits")
    from limits import RateLimitItemPerDay
    from limits.storage import MemoryStorage
    from limits.strategies import FixedWindowRateLimiter

    return partial(
        FixedWindowRateLimiter(MemoryStorage()).hit, RateLimitItemPerDay(limit), peers.KEY
    )


def in_threads(name: str, threads: int, call: Callable[[], object]) -> Subject:
    """Time `threads` threads that share the calls of a slice."""

    def work(calls: int) -> None:
        for _ in repeat(None, calls):
            call()

    def run(items: range) -> None:
        share = -(-len(items) // threads)
        at_once([partial(work, share) for _ in range(threads)])

    return Subject(name=name, run=run, prepare=range)  # type: ignore[arg-type]


def tally(attempt: Callable[[], bool], calls: int) -> int:
    """Return how often eight threads succeed, each with its own count."""
    counts: list[int] = []

    def work() -> None:
        counts.append(sum(attempt() for _ in repeat(None, calls)))

    at_once([work] * THREADS)
    return sum(counts)


def at_once(works: list[Callable[[], None]]) -> None:
    """Run each in a thread; a failure in one of them is raised here."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def switching_often() -> Iterator[None]:
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(OFTEN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)
