"""What this machine has and lets us do, for `tidegate doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.domain.ability import Ability
from tidegate.domain.host_capacity import HostCapacity
from tidegate.domain.machine import MachineSample


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out about this machine."""

    capacity: HostCapacity
    sample: MachineSample
    abilities: list[Ability]


def examine() -> Findings:
    """Look at this machine. Nothing on it is changed."""
    from tidegate.adapters.linux.abilities import find_abilities
    from tidegate.adapters.linux.capacity import read_capacity
    from tidegate.adapters.linux.machine import LinuxMachine
    from tidegate.adapters.system.clock import SystemClock

    machine = LinuxMachine(SystemClock().elapsed_us)
    try:
        sample = machine.sample()
    finally:
        machine.close()
    return Findings(read_capacity(), sample, find_abilities())
