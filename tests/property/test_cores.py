"""Whatever is taken and given back in whatever order: no CPU carries more than it may."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.cores import CoreGrant, CorePolicy, Cores
from tidegate.domain.cpu_set import first, members
from tidegate.domain.topology import Topology

POLICIES: tuple[CorePolicy, ...] = ("first_fit", "best_fit", "round_robin", "affinity_aware")


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """A machine of a few sockets, nodes, caches, and cores of one or two threads."""
    sockets, nodes, caches, wide, threads = (draw(st.integers(1, most)) for most in (2, 2, 3, 3, 2))
    count = sockets * nodes * caches * wide
    cores = [sum(1 << (core + count * t) for t in range(threads)) for core in range(count)]

    def sets(size: int) -> tuple[int, ...]:
        return tuple(sum(cores[at : at + size]) for at in range(0, count, size))

    whole = (1 << count * threads) - 1
    per_node = wide * caches
    classes = draw(st.integers(0, count))
    fast = sum(cores[:classes])
    return Topology(
        whole,
        tuple(cores),
        sets(wide),
        sets(per_node),
        sets(per_node * nodes),
        tuple(each for each in (fast, whole & ~fast) if each),
    )


STEPS = st.lists(
    st.tuples(st.sampled_from(POLICIES), st.integers(1, 12), st.booleans(), st.integers(0, 9)),
    max_size=40,
)


@given(topology=topologies(), per_cpu=st.integers(1, 3), steps=STEPS)
def test_no_cpu_carries_more_than_it_may(
    topology: Topology, per_cpu: int, steps: list[tuple[CorePolicy, int, bool, int]]
) -> None:
    cores = Cores(topology, per_cpu=per_cpu)
    live: list[CoreGrant] = []
    for policy, count, exclusive, end in steps:
        if live and end < 4:
            cores.give_back(live.pop(end % len(live)))
        free = cores.idle.bit_count() if exclusive else cores.free_units()
        grant = cores.take(policy, count, exclusive=exclusive)
        # What there is room for is granted, whole.
        assert (grant is not None) == (count <= free)
        if grant is not None:
            assert sum(each.bit_count() for each in grant.rounds) == count
            live.append(grant)
        check(cores, topology, per_cpu, live)
    for grant in live:
        cores.give_back(grant)
    assert (cores.idle, cores.exclusive) == (topology.cpus, 0)


def check(cores: Cores, topology: Topology, per_cpu: int, live: list[CoreGrant]) -> None:
    """Compare with a count that knows nothing of masks."""
    alone: Counter[int] = Counter()
    loads: Counter[int] = Counter()
    for grant in live:
        for each in grant.rounds:
            (alone if grant.exclusive else loads).update(members(each))
    assert max(alone.values(), default=0) <= 1
    assert max(loads.values(), default=0) <= per_cpu
    assert not alone.keys() & loads.keys()
    assert set(members(cores.exclusive)) == alone.keys()
    assert all(cores.load(cpu) == loads[cpu] for cpu in members(topology.cpus))


@given(mask=st.integers(0, 1 << 200), count=st.integers(0, 210))
def test_the_first_of_a_set(mask: int, count: int) -> None:
    assert members(first(mask, count)) == members(mask)[:count]
