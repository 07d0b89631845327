"""What a machine does at one moment, as its kernel counts it; and what two such moments say.

Counters only grow, from the start of the machine; what happened between two samples is their
difference. What could not be read is None, with the reason in `unknown`: nothing is made up.

Structs and not dataclasses: one sample has dozens, and is to cost microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

RESOURCES = ("cpu", "memory", "io")
"""What there can be pressure on."""


class CpuTimes(msgspec.Struct, frozen=True, gc=False):
    """Of one CPU since the start: ticks in which it worked, and all ticks.

    Waiting for disks counts as idle, time that the host of a virtual machine stole as busy.
    """

    busy: int
    total: int


class MemoryReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of the whole machine, in bytes; `available` can be had without swapping."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0

    @property
    def used_bytes(self) -> int:
        """What cannot be had."""
        return max(0, self.total_bytes - self.available_bytes)


class Pressure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The part of the time in which work stood still for want of something, in percent.

    `some`: at least one task; `full`: all of them. Averages of 10 seconds; the totals, in
    microseconds, say it for any two samples.

    Source: Documentation/accounting/psi.rst of the kernel.
    """

    some_percent: float
    full_percent: float
    some_total_us: int
    full_total_us: int


class Traffic(msgspec.Struct, frozen=True, gc=False):
    """Bytes of one network interface since it came up."""

    received: int
    sent: int


class MachineSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All of it at one moment, `at_us` of a clock that never steps."""

    at_us: int
    cpus: Mapping[int, CpuTimes] | None = None
    memory: MemoryReading | None = None
    network: Mapping[str, Traffic] | None = None
    pressure: Mapping[str, Pressure] = {}
    unknown: Mapping[str, str] = {}


def busy_percent(before: MachineSample, after: MachineSample) -> dict[int, float] | None:
    """Return how busy each CPU was between two samples; None where nobody counted.

    A CPU that came or went in between, or had no tick, is left out.
    """
    if before.cpus is None or after.cpus is None:
        return None
    found = {}
    for cpu, times in after.cpus.items():
        earlier = before.cpus.get(cpu)
        if earlier is not None and times.total > earlier.total:
            busy = max(0, times.busy - earlier.busy)
            found[cpu] = min(100.0, 100.0 * busy / (times.total - earlier.total))
    return found


def bytes_per_s(before: MachineSample, after: MachineSample, interface: str) -> float | None:
    """Return what an interface received and sent each second between two samples."""
    if before.network is None or after.network is None or after.at_us <= before.at_us:
        return None
    first, last = before.network.get(interface), after.network.get(interface)
    if first is None or last is None or last.received < first.received or last.sent < first.sent:
        # It went away, and came again with counters at zero.
        return None
    moved = last.received - first.received + last.sent - first.sent
    return moved * 1e6 / (after.at_us - before.at_us)
