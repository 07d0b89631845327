"""Which CPUs requests get: the same ones each time, near each other or packed, as was chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machines import machine
from tidegate.domain.cores import CorePolicy, Cores
from tidegate.domain.cpu_set import described
from tidegate.domain.topology import flat

SERIES = [(2, False), (4, True), (1, False), (3, True), (2, False)]
"""Units, and whether they are to be exclusive."""


def map_of(cores: Cores, policy: CorePolicy, series: list[tuple[int, bool]]) -> list[str]:
    """Return which CPUs each request of a series gets; what is refused gets none."""
    grants = [cores.take(policy, count, exclusive=alone) for count, alone in series]
    return ["none" if grant is None else described(grant.cpus) for grant in grants]


@pytest.mark.parametrize(
    ("name", "policy", "cpus"),
    [
        ("two-sockets-smt", "first_fit", ["0-1", "2-5", "0", "6-8", "1,9"]),
        ("two-sockets-smt", "best_fit", ["0-1", "2-3,58-59", "0", "4-5,60", "1,6"]),
        ("two-sockets-smt", "round_robin", ["0-1", "2-5", "6", "7-9", "10-11"]),
        ("two-sockets-smt", "affinity_aware", ["0-1", "2-3,58-59", "4", "5-6,61", "7-8"]),
        ("cache-complexes", "first_fit", ["0-1", "2-5", "0", "6-8", "1,9"]),
        ("cache-complexes", "affinity_aware", ["0-1", "2-3,66-67", "4", "5-6,69", "7,64"]),
        ("hybrid", "best_fit", ["0-1", "2-5", "0", "6-8", "1,9"]),
        ("hybrid", "affinity_aware", ["0-1", "2-5", "6", "7-9", "10-11"]),
        ("three-classes", "affinity_aware", ["4-5", "0-3", "7", "none", "4,6"]),
    ],
)
def test_the_cores_of_a_series(
    tmp_path: Path, name: str, policy: CorePolicy, cpus: list[str]
) -> None:
    topology = machine(name, tmp_path)
    assert map_of(Cores(topology, per_cpu=2), policy, SERIES) == cpus
    assert map_of(Cores(topology, per_cpu=2), policy, SERIES) == cpus


def test_a_request_for_more_units_than_cpus_goes_round() -> None:
    cores = Cores(flat(0b1111), per_cpu=2)
    grant = cores.take("first_fit", 7)
    assert grant is not None
    assert [described(each) for each in grant.rounds] == ["0-3", "0-2"]
    assert (cores.load(0), cores.load(3)) == (2, 1)
    assert cores.take("first_fit", 2) is None
    last = cores.take("first_fit", 1)
    assert last is not None
    assert described(last.cpus) == "3"
    assert cores.free_units() == 0
    cores.give_back(grant)
    cores.give_back(last)
    assert (cores.free_units(), cores.idle) == (8, 0b1111)


def test_exclusive_cpus_are_shared_with_nobody() -> None:
    cores = Cores(flat(0b1111), per_cpu=4)
    alone = cores.take("first_fit", 2, exclusive=True)
    shared = cores.take("first_fit", 8)
    assert alone is not None
    assert shared is not None
    assert not alone.cpus & shared.cpus
    assert cores.take("first_fit", 1) is None
    assert cores.take("first_fit", 1, exclusive=True) is None
    cores.give_back(alone)
    assert cores.take("first_fit", 3, exclusive=True) is None
    assert cores.free_units() == 8


def test_what_was_granted_before_is_taken_again() -> None:
    cores = Cores(flat(0b111), per_cpu=2)
    grants = [cores.take("first_fit", 4), cores.take("first_fit", 1)]
    other = Cores(flat(0b111), per_cpu=2)
    for grant in grants:
        assert grant is not None
        assert other.take_again(grant)
    assert [other.load(cpu) for cpu in range(3)] == [cores.load(cpu) for cpu in range(3)]
    assert grants[0] is not None
    assert not other.take_again(grants[0])
    assert other.free_units() == 1


def test_a_lowered_cap_takes_nothing_away() -> None:
    cores = Cores(flat(0b11), per_cpu=2)
    grant = cores.take("first_fit", 4)
    cores.set_per_cpu(1)
    assert (cores.free_units(), cores.take("first_fit", 1)) == (0, None)
    assert grant is not None
    cores.give_back(grant)
    assert cores.free_units() == 2
