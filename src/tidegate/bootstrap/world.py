"""The time and chance of the real world, for those who may not reach for it themselves."""

from __future__ import annotations

from tidegate.ports.clock import Clock


def system_clock() -> Clock:
    """Return the clock of this machine."""
    from tidegate.adapters.system.clock import SystemClock

    return SystemClock()


def chance() -> float:
    """Return a number in [0, 1) that is evenly spread; not for secrets."""
    import random

    return random.random()  # noqa: S311
