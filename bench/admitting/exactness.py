"""Row 10: eight processes on one key, half of them with a wall clock half a second ahead.

They begin and end at the same instants. A bucket of 100 a second and 100 at once lets in
100 + 100 x the seconds it was asked for, a window of 100 a second lets in 100 for each of them.
When a store decided is not seen, only when it was asked and when it had answered. So the most it
may let in is counted from the first try to the last answer, and one more is a fault. The least is
counted from the first answer to the last try that was refused: then everything was spent, however
late a busy machine brought the answers.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from admitting import own
from admitting.contender import UNITS
from admitting.effort import Effort
from admitting.footprint import BENCH
from admitting.peers import require
from admitting.redis_peers import RUN
from admitting.servers import Servers
from admitting.table import Bar, NotMeasured, Row

GROUP = "exact"
PROCESSES = 8
SKEW_S = 0.5
HEAD_START_S = 0.2
GRACE_S = 60.0
BAR = Bar(at_least=0.99, at_most=1)
PEERS = {
    "limits moving window": ("limits", False),
    "throttled-py GCRA": ("throttled", True),
    "pyrate-limiter log": ("pyrate_limiter", False),
}
"""By name: the module, and whether it is a bucket, which may begin with a burst."""
_contests = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one process says: instants of the monotonic clock, and how often it tried.

    `refused_s` is when its last try began that was refused; None if none was.
    """

    tries: int
    first_s: float
    heard_s: float
    refused_s: float | None
    last_s: float
    granted_at_s: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What all processes together got. `worst` is the most inside any one second."""

    admitted: int
    least: float
    most: float
    worst: int
    tries: int

    @property
    def ratio(self) -> float:
        """How much of the ideal that is: of the nearest one, of all that may have been."""
        return self.admitted / min(max(self.admitted, self.least), self.most)

    def __str__(self) -> str:
        error = 100 * (self.ratio - 1)
        return (
            f"{self.admitted:,} of {self.least:,.1f} to {self.most:,.1f} ({error:+.1f} %),"
            f" worst 1 s {self.worst}, {self.tries:,} tries"
        )


def measure(effort: Effort, servers: Servers) -> list[Row]:
    stores = {"redis": servers.redis, "postgresql": servers.postgresql, "sqlite": servers.sqlite}
    rows = [on_store(name, url_of, effort) for name, url_of in stores.items()]
    return rows + [peer(name, servers, effort) for name in PEERS]


def on_store(name: str, url_of: Callable[[], str], effort: Effort) -> Row:
    what = f"{described(effort)}, {name}"
    try:
        url = url_of()
        asyncio.run(own.see_that_it_opens(url))
        contest = contested("ours", url, effort, bucket=True)
    except NotMeasured as why:
        return Row(group=GROUP, what=what, ours=str(why), bar=BAR)
    return Row(
        group=GROUP,
        what=what,
        ours=str(contest),
        value=contest.ratio,
        bar=BAR,
        figures={
            "admitted": contest.admitted,
            "least": contest.least,
            "most": contest.most,
            "tries": contest.tries,
        },
    )


def peer(name: str, servers: Servers, effort: Effort) -> Row:
    module, bucket = PEERS[name]
    try:
        require(module)
        contest = contested(name, servers.redis(), effort, bucket=bucket)
    except NotMeasured as why:
        return Row(group=GROUP, what=f"{described(effort)}, redis", peer=f"{name}: {why}")
    return Row(
        group=GROUP,
        what=f"{described(effort)}, redis",
        peer=f"{name}: {contest}",
        value=contest.ratio,
    )


def described(effort: Effort) -> str:
    return f"{PROCESSES} processes, {UNITS}/s, {effort.contest_s:g} s, half {SKEW_S} s ahead"


def contested(subject: str, url: str, effort: Effort, *, bucket: bool) -> Contest:
    """Let all of them begin at once, and add up what they say."""
    key = f"{RUN}-{next(_contests)}"
    contenders: list[subprocess.Popen[str]] = []
    try:
        for number in range(PROCESSES):
            ahead_s = SKEW_S * (number % 2)
            # One by one, so that those that were started are ended if another one is not.
            contenders.append(started(subject, url, key, ahead_s))
        for contender in contenders:
            assert contender.stdout is not None
            if contender.stdout.readline() != "ready\n":
                raise RuntimeError(f"{subject} did not start: {ended(contender)[1]}")
        begin_s = time.monotonic() + HEAD_START_S
        for contender in contenders:
            assert contender.stdin is not None
            contender.stdin.write(f"{begin_s} {begin_s + effort.contest_s}\n")
            contender.stdin.flush()
        told = [Told(**json.loads(ended(contender)[0])) for contender in contenders]
        return summed(told, bucket=bucket)
    finally:
        for contender in contenders:
            contender.kill()
            contender.communicate()


def started(subject: str, url: str, key: str, skew_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "admitting.contender", subject, url, key, str(skew_s)],
        cwd=BENCH,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(contender: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = contender.communicate(timeout=GRACE_S)
    if contender.returncode:
        raise RuntimeError(f"a contender failed: {err}")
    return out, err


def summed(told: Sequence[Told], *, bucket: bool) -> Contest:
    instants = sorted(at_s for each in told for at_s in each.granted_at_s)
    last_s = max(each.last_s for each in told)
    spent_s = max((each.refused_s for each in told if each.refused_s is not None), default=last_s)
    longest_s = last_s - min(each.first_s for each in told)
    shortest_s = spent_s - min(each.heard_s for each in told)

    def let_in(seconds: float) -> float:
        return UNITS * (seconds + 1 if bucket else max(1.0, seconds))

    within_1_s = (bisect.bisect_left(instants, at_s + 1) - n for n, at_s in enumerate(instants))
    return Contest(
        admitted=len(instants),
        least=let_in(shortest_s),
        most=let_in(longest_s),
        worst=max(within_1_s, default=0),
        tries=sum(each.tries for each in told),
    )
