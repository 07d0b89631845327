"""The floor of the language: what the steps cost that no interpreted decision can do without.

Measured in the same run as the rows, so that a missed bar can be explained: a bar below the sum
of these is a bar for compiled code. The bare decision is the least that is still right for
threads: clock, lock, dict, the arithmetic of one rate, and nothing to return but yes or no.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from admitting.effort import Effort
from admitting.timing import Subject, Timings, cpu_ns, middle
from tidegate import Claim

Step = Callable[[], object]


class Plain(msgspec.Struct, frozen=True, gc=False):
    """As small as a value with three fields can be."""

    tenant: str
    units: int
    at_us: int


def measure(effort: Effort) -> dict[str, float]:
    """Return nanoseconds of CPU by step, without the loop around it."""
    subjects = [
        Subject(name="loop", run=loop),
        Subject(name="call of an empty function", run=empty_call),
        Subject(name="time.time_ns()", run=clock),
        Subject(name="dict.get", run=dict_get),
        Subject(name="lock: bound acquire and release", run=lock_bound),
        Subject(name="lock: with", run=lock_with),
        Subject(name="msgspec Struct of three fields", run=struct),
        Subject(name="new Claim with one resource", run=claim),
        Subject(name="bare decision: clock, lock, dict, one rate", run=bare_decision()),
    ]
    timings: Timings = cpu_ns(subjects, calls=10 * effort.calls, repeats=effort.repeats)
    loop_ns = middle(timings, "loop")
    return {
        subject.name: max(0.0, middle(timings, subject.name) - loop_ns) for subject in subjects[1:]
    }


def loop(items: Iterable[Any]) -> None:
    for _ in items:
        pass


def nothing(_key: str) -> None:
    """Take an argument and do nothing."""


def empty_call(items: Iterable[Any]) -> None:
    for _ in items:
        nothing("acme")


def clock(items: Iterable[Any]) -> None:
    now_ns = time.time_ns
    for _ in items:
        now_ns()


def dict_get(items: Iterable[Any]) -> None:
    get = {"acme": 1}.get
    for _ in items:
        get("acme")


def lock_bound(items: Iterable[Any]) -> None:
    lock = threading.Lock()
    acquire, release = lock.acquire, lock.release
    for _ in items:
        acquire()
        try:
            pass
        finally:
            release()


def lock_with(items: Iterable[Any]) -> None:
    lock = threading.Lock()
    for _ in items:
        with lock:
            pass


def struct(items: Iterable[Any]) -> None:
    for _ in items:
        Plain("acme", 1, 2)


def claim(items: Iterable[Any]) -> None:
    for _ in items:
        Claim(tenant="acme", take={"requests": 1})


def bare_decision() -> Callable[[Iterable[Any]], object]:
    """Return a rate as small as it gets, at ten units a microsecond and a burst of as many."""
    lock = threading.Lock()
    acquire, release = lock.acquire, lock.release
    arrivals: dict[str, int] = {}
    get = arrivals.get
    now_ns = time.time_ns

    def take(key: str) -> bool:
        acquire()
        try:
            now = now_ns()
            due = max(get(key, 0), now) + 100
            if due - now > 10**9:
                return False
            arrivals[key] = due
            return True
        finally:
            release()

    def run(items: Iterable[Any]) -> object:
        for _ in items:
            take("acme")
        return take("acme")

    return run


def text(floor: dict[str, float]) -> str:
    width = max(map(len, floor))
    lines = [f"  {name.ljust(width)} {ns:6.0f} ns" for name, ns in floor.items()]
    return "\n".join(["The floor of the language, CPU time of one step:", *lines])
