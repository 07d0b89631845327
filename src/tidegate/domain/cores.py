"""Which CPUs an allocation gets, and which are free: pure, in a few operations on masks.

A CPU is exclusive to one allocation, or shared by as many units as overcommit lets it carry. Units
of one request lie on different CPUs as long as there are any; a request for more units than CPUs
goes round again, up to the cap of each. For the same requests in the same order the same CPUs are
chosen, on every machine of that topology.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tidegate.domain.cpu_set import CPUS_MAX, first
from tidegate.domain.topology import Topology

CorePolicy = Literal["first_fit", "best_fit", "round_robin", "affinity_aware"]


@dataclass(frozen=True, slots=True)
class CoreGrant:
    """CPUs of one allocation: each mask of `rounds` has one unit on each of its CPUs."""

    rounds: tuple[int, ...]
    exclusive: bool = False

    @property
    def cpus(self) -> int:
        """All of them: the first round has every CPU that later ones have."""
        return self.rounds[0] if self.rounds else 0


class Cores:
    """Free and taken CPUs of one machine. Not locked: its owner is.

    Args:
        topology: The CPUs that may be given away.
        per_cpu: Shared units that one CPU may carry, 1 or more.
    """

    def __init__(self, topology: Topology, *, per_cpu: int = 1) -> None:
        self.topology = topology
        self.exclusive = 0
        self._per_cpu = per_cpu
        # By how many shared units they carry; exclusive ones are in none.
        self._loaded = [topology.cpus]
        self._next = 0
        self._cores_in = {
            each: tuple(core for core in topology.cores if core & each)
            for level in topology.levels
            for each in level
        }

    @property
    def idle(self) -> int:
        """CPUs that nobody has a part of."""
        return self._loaded[0]

    @property
    def open(self) -> int:
        """CPUs that can carry one more shared unit."""
        mask = 0
        for each in self._loaded[: self._per_cpu]:
            mask |= each
        return mask

    def free_units(self) -> int:
        """Return how many shared units could still be granted."""
        return sum(
            each.bit_count() * (self._per_cpu - load)
            for load, each in enumerate(self._loaded[: self._per_cpu])
        )

    def set_per_cpu(self, per_cpu: int) -> None:
        """Change the cap; what is above a lowered one stays until it is given back."""
        self._per_cpu = per_cpu

    def take(self, policy: CorePolicy, count: int, *, exclusive: bool = False) -> CoreGrant | None:
        """Choose CPUs and take them; None, and nothing is changed, if there are not enough.

        Args:
            policy: In which order CPUs are tried.
            count: CPUs, or shared units, 1 or more.
            exclusive: For nobody else.
        """
        if exclusive:
            if self.idle.bit_count() < count:
                return None
            mask = self._choose(policy, self.idle, count, exclusive=True)
            self._loaded[0] &= ~mask
            self.exclusive |= mask
            return CoreGrant((mask,), exclusive=True)
        if self.free_units() < count:
            return None
        rounds = []
        while count:
            usable = self.open
            mask = self._choose(policy, usable, min(count, usable.bit_count()), exclusive=False)
            self._raise(mask)
            rounds.append(mask)
            count -= mask.bit_count()
        return CoreGrant(tuple(rounds))

    def take_again(self, grant: CoreGrant) -> bool:
        """Take the CPUs that a grant of before names; False if one of them is not free enough."""
        if grant.exclusive:
            if grant.cpus & ~self.idle:
                return False
            self._loaded[0] &= ~grant.cpus
            self.exclusive |= grant.cpus
            return True
        for number, mask in enumerate(grant.rounds):
            if mask & ~self.open:
                self.give_back(CoreGrant(grant.rounds[:number]))
                return False
            self._raise(mask)
        return True

    def give_back(self, grant: CoreGrant) -> None:
        """Free what was granted."""
        if grant.exclusive:
            self.exclusive &= ~grant.cpus
            self._loaded[0] |= grant.cpus
            return
        for mask in reversed(grant.rounds):
            rest = mask
            for load in range(1, len(self._loaded)):
                lowered = self._loaded[load] & rest
                self._loaded[load] ^= lowered
                self._loaded[load - 1] |= lowered
                rest ^= lowered

    def load(self, cpu: int) -> int:
        """Return how many shared units a CPU carries."""
        return next((n for n, each in enumerate(self._loaded) if each >> cpu & 1), 0)

    def _raise(self, mask: int) -> None:
        for load in reversed(range(len(self._loaded))):
            raised = self._loaded[load] & mask
            if raised:
                if load + 1 == len(self._loaded):
                    self._loaded.append(0)
                self._loaded[load] ^= raised
                self._loaded[load + 1] |= raised

    def _choose(self, policy: CorePolicy, usable: int, count: int, *, exclusive: bool) -> int:
        """Return `count` of the usable CPUs, of which there are enough."""
        if policy == "first_fit":
            return first(usable, count)
        if policy == "round_robin":
            return self._rotate(usable, count)
        fast = self._fastest(usable, count)
        if policy == "best_fit" and not exclusive:
            return self._fullest(fast, count)
        return self._nearby(fast, count, exclusive=exclusive)

    def _rotate(self, usable: int, count: int) -> int:
        ahead = usable >> self._next << self._next
        mask = first(ahead, count)
        mask |= first(usable ^ ahead, count - mask.bit_count()) if mask.bit_count() < count else 0
        behind = mask & ((1 << self._next) - 1)
        self._next = (behind or mask).bit_length()
        return mask

    def _fastest(self, usable: int, count: int) -> int:
        """Return the fastest classes of usable CPUs that suffice together."""
        mask = 0
        for each in self.topology.classes:
            mask |= usable & each
            if mask.bit_count() >= count:
                break
        return mask

    def _fullest(self, usable: int, count: int) -> int:
        """Pack: return the CPUs that carry most, so that others stay whole."""
        mask = 0
        for each in reversed(self._loaded):
            mask |= first(usable & each, count - mask.bit_count())
            if mask.bit_count() == count:
                break
        return mask

    def _nearby(self, usable: int, count: int, *, exclusive: bool) -> int:
        """Return CPUs near each other, from the place that has the least to spare."""
        for level in self.topology.levels:
            tightest, spare = 0, CPUS_MAX
            for each in level:
                size = (usable & each).bit_count()
                # The lowest of equals: levels are in the order of their lowest CPUs.
                if count <= size < spare:
                    tightest, spare = each, size
            if tightest and exclusive:
                part = usable & tightest
                whole = together(self._cores_in[tightest], part, count)
                return whole | first(part & ~whole, count - whole.bit_count())
            if tightest:
                return self._idlest(usable & tightest, count)
        raise AssertionError("the last level is the whole machine")

    def _idlest(self, part: int, count: int) -> int:
        mask = 0
        for each in self._loaded:
            mask |= first(part & each, count - mask.bit_count())
            if mask.bit_count() == count:
                break
        return mask


def together(sets: Iterable[int], part: int, count: int) -> int:
    """Return as many of the sets that lie in `part` as have no more than `count` CPUs together."""
    mask = size = 0
    for each in sets:
        if not each & ~part and size + each.bit_count() <= count:
            mask |= each
            size = mask.bit_count()
            if size == count:
                break
    return mask
