"""How CPUs lie, as kernels of several machines tell it; and the lists they tell it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machines import machine
from tidegate.adapters.linux.topology import read_topology
from tidegate.domain.cpu_set import described, first, lowest, members, parsed
from tidegate.domain.topology import Topology, flat
from tidegate.errors import InvalidSetting


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("", []), ("0", [0]), ("0-3,8", [0, 1, 2, 3, 8]), (" 2,0 \n", [0, 2]), ("8191", [8191])],
)
def test_lists(text: str, cpus: list[int]) -> None:
    mask = parsed(text)
    assert members(mask) == cpus
    assert members(parsed(described(mask))) == cpus
    if cpus:
        assert lowest(mask) == cpus[0]
        assert members(first(mask, 2)) == cpus[:2]


WRONG_LISTS = ["a", "1-", "-1", "3-1", "8192", "0-99999", "1,,2", "1;2", "\u0661"]


@pytest.mark.parametrize("text", WRONG_LISTS)
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(InvalidSetting, match="cpus"):
        parsed(text)


@pytest.mark.parametrize(
    ("name", "counts", "core", "cache", "classes"),
    [
        ("two-sockets-smt", (56, 2, 2, 2), "0,56", "0-27,56-83", ["0-111"]),
        ("cache-complexes", (64, 8, 4, 1), "0,64", "0-7,64-71", ["0-127"]),
        ("hybrid", (16, 1, 1, 1), "0-1", "0-23", ["0-15", "16-23"]),
        ("three-classes", (8, 1, 1, 1), "0", "0-7", ["7", "4-6", "0-3"]),
    ],
)
def test_machines(
    tmp_path: Path,
    name: str,
    counts: tuple[int, ...],
    core: str,
    cache: str,
    classes: list[str],
) -> None:
    seen = machine(name, tmp_path)
    levels = (seen.cores, seen.caches, seen.nodes, seen.sockets)
    assert tuple(map(len, levels)) == counts
    assert (described(seen.cores[0]), described(seen.caches[0])) == (core, cache)
    assert [described(each) for each in seen.classes] == classes
    # The half of it is a machine, too.
    half = seen.within(first(seen.cpus, seen.cpus.bit_count() // 2))
    assert half.cpus.bit_count() * 2 == seen.cpus.bit_count()
    assert all(sum(level) == half.cpus for level in half.levels)


def test_this_machine_is_one() -> None:
    seen = read_topology()
    assert seen is not None
    assert all(sum(level) == seen.cpus for level in (*seen.levels, seen.cores, seen.classes))


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    assert read_topology(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "online").write_text("0-1,3\n")
    assert read_topology(tmp_path) == flat(0b1011)


def test_levels_that_do_not_divide_the_cpus() -> None:
    good = flat(0b11)
    Topology(3, good.cores, good.caches, good.nodes, good.sockets, good.classes)
    for cores in ((1,), (1, 3), (1, 2, 4), (1, 2, 0)):
        with pytest.raises(InvalidSetting, match=r"topology\.cores"):
            Topology(3, cores, good.caches, good.nodes, good.sockets, good.classes)
    with pytest.raises(InvalidSetting, match=r"topology\.cpus"):
        flat(0)
