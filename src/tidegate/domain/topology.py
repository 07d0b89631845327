"""How the CPUs of a machine lie: which share a core, a cache, a memory node, a socket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from tidegate.domain.cpu_set import described
from tidegate.errors import InvalidSetting


@dataclass(frozen=True)
class Topology:
    """Sets of CPUs, as in `domain/cpu_set`, of those that may be used at all.

    Args:
        cpus: All of them.
        cores: Those that share a core: SMT siblings, or single CPUs.
        caches: Those that share a last-level cache.
        nodes: Those of one NUMA node.
        sockets: Those of one package.
        classes: Of a hybrid machine those of one kind, the fastest first; otherwise all in one.

    Every level divides the CPUs: each is in exactly one set of it.

    Raises:
        InvalidSetting: a level that does not.
    """

    cpus: int
    cores: tuple[int, ...]
    caches: tuple[int, ...]
    nodes: tuple[int, ...]
    sockets: tuple[int, ...]
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse levels that do not divide the CPUs."""
        if self.cpus <= 0:
            raise InvalidSetting("topology.cpus", self.cpus, "at least one CPU")
        for level in ("cores", "caches", "nodes", "sockets", "classes"):
            seen = 0
            for each in getattr(self, level):
                if not each or each & seen or each & ~self.cpus:
                    allowed = f"sets that divide {described(self.cpus)}"
                    raise InvalidSetting(f"topology.{level}", described(each), allowed)
                seen |= each
            if seen != self.cpus:
                missing = described(self.cpus & ~seen)
                raise InvalidSetting(f"topology.{level}", f"none with {missing}", "all CPUs")

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The levels at which CPUs are near each other, the nearest first: each divides the next.

        Where a cache reaches beyond a memory node, or a node beyond a socket, its parts count.
        """
        caches = _divided(self.caches, _divided(self.nodes, self.sockets))
        nodes = _divided(self.nodes, self.sockets)
        return (caches, nodes, self.sockets, (self.cpus,))

    def within(self, cpus: int) -> Topology:
        """Return the part of the machine that these CPUs are, for a process that has but them."""
        cpus &= self.cpus
        return Topology(
            cpus,
            _divided(self.cores, (cpus,)),
            _divided(self.caches, (cpus,)),
            _divided(self.nodes, (cpus,)),
            _divided(self.sockets, (cpus,)),
            _divided(self.classes, (cpus,)),
        )


def flat(cpus: int) -> Topology:
    """Return the topology of CPUs nothing is known of: a core each, near each other."""
    cores, rest = [], cpus
    while rest:
        low = rest & -rest
        cores.append(low)
        rest ^= low
    one = (cpus,)
    return Topology(cpus, tuple(cores), one, one, one, one)


def _divided(sets: Iterable[int], by: Iterable[int]) -> tuple[int, ...]:
    """Return the parts of sets that lie in one of others, by their lowest CPU."""
    others = tuple(by)
    parts = [each & other for each in sets for other in others if each & other]
    return tuple(sorted(parts, key=lambda part: part & -part))
