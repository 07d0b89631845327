"""What control groups allow, from trees as kernels show them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tidegate.adapters.linux.capacity import read_capacity
from tidegate.adapters.linux.cgroups import cpu_quota, cpuset, memory_limit_bytes, own_groups
from tidegate.domain.cpu_set import described

MIB = 1 << 20


class Tree:
    """The folders of a machine that exists but here: /proc, and control groups."""

    def __init__(self, root: Path) -> None:
        self.root, self.proc = root, root / "proc"
        self._mounts: list[str] = []
        self._own: list[str] = []
        self.put("proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 1 kB\nSwapTotal: 0 kB\n")
        self.put("proc/meminfo", f"{(self.proc / 'meminfo').read_text()}SwapFree: 0 kB\n")

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def mount(self, name: str, kind: str, options: str = "rw", within: str = "/") -> None:
        point = str(self.root / name).replace(" ", "\\040")
        self._mounts.append(f"1 2 0:3 {within} {point} rw - {kind} none {options}\n")
        self.put("proc/self/mountinfo", "".join(self._mounts))

    def join(self, line: str) -> None:
        self._own.append(f"{line}\n")
        self.put("proc/self/cgroup", "".join(self._own))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_version_2_looks_upwards(tree: Tree) -> None:
    tree.mount("a cgroup", "cgroup2")
    tree.join("0::/top/mine")
    tree.put("a cgroup/top/mine/cgroup.controllers", "cpu cpuset memory\n")
    tree.put("a cgroup/top/mine/memory.max", "max\n")
    tree.put("a cgroup/top/memory.max", f"{300 * MIB}\n")
    tree.put("a cgroup/top/mine/cpu.max", "150000 100000\n")
    tree.put("a cgroup/top/cpu.max", "max 100000\n")
    tree.put("a cgroup/top/mine/cpuset.cpus.effective", "0-1\n")
    groups = own_groups(tree.proc)
    assert sorted(groups) == ["cpu", "cpuset", "memory"]
    assert memory_limit_bytes(groups["memory"]) == (300 * MIB, tree.root / "a cgroup/top")
    assert cpu_quota(groups["cpu"]) == (Fraction(3, 2), tree.root / "a cgroup/top/mine")
    assert described(cpuset(groups["cpuset"]) or 0) == "0-1"


def test_version_1_beside_version_2(tree: Tree) -> None:
    for name in ("cpu,cpuacct", "cpuset", "memory", "blkio"):
        tree.mount(f"cg/{name}", "cgroup", f"rw,{name}")
    tree.mount("cg/systemd", "cgroup", "rw,name=systemd")
    tree.mount("cg/unified", "cgroup2")
    for line in (
        "4:memory:/a/b",
        "3:cpuset:/",
        "2:cpu,cpuacct:/a",
        "5:blkio:/",
        "1:name=systemd:/",
    ):
        tree.join(line)
    tree.join("0::/")
    tree.put("cg/unified/cgroup.controllers", "hugetlb memory\n")
    tree.put("cg/memory/a/b/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    tree.put("cg/memory/a/memory.limit_in_bytes", f"{200 * MIB}\n")
    tree.put("cg/memory/memory.limit_in_bytes", f"{900 * MIB}\n")
    tree.put("cg/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n")
    tree.put("cg/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n")
    groups = own_groups(tree.proc)
    assert sorted(groups) == ["cpu", "cpuacct", "cpuset", "io", "memory"]
    assert {group.version for group in groups.values()} == {1}
    assert memory_limit_bytes(groups["memory"]) == (200 * MIB, tree.root / "cg/memory/a")
    assert cpu_quota(groups["cpu"]) is None
    assert cpuset(groups["cpuset"]) is None


def test_a_container_sees_its_part_of_the_tree(tree: Tree) -> None:
    tree.mount("cg/memory", "cgroup", "rw,memory", within="/docker/abc")
    tree.join("4:memory:/docker/abc/own")
    tree.put("cg/memory/own/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    tree.put("cg/memory/memory.limit_in_bytes", f"{100 * MIB}\n")
    (group,) = own_groups(tree.proc).values()
    assert memory_limit_bytes(group) == (100 * MIB, tree.root / "cg/memory")
    capacity = read_capacity(proc=tree.proc)
    assert capacity.memory_bytes == 100 * MIB
    assert capacity.told_by["memory_bytes"] == f"limit of {tree.root / 'cg/memory'}"


def test_a_path_of_another_namespace_is_the_root_of_what_is_mounted(tree: Tree) -> None:
    tree.mount("cg/memory", "cgroup", "rw,memory")
    tree.join("4:memory:/../elsewhere")
    tree.put("cg/elsewhere/memory.limit_in_bytes", "1\n")
    tree.put("cg/memory/memory.limit_in_bytes", "4096\n")
    (group,) = own_groups(tree.proc).values()
    assert memory_limit_bytes(group) == (4096, tree.root / "cg/memory")


def test_without_groups_the_machine_is_the_limit(tree: Tree) -> None:
    capacity = read_capacity(proc=tree.proc)
    assert capacity.memory_bytes == 1 << 30
    assert capacity.told_by["memory_bytes"] == "memory of the machine"
    assert capacity.topology is not None
    assert capacity.millicores == 1000 * capacity.topology.cpus.bit_count()


def test_what_nobody_tells_is_unknown(tmp_path: Path) -> None:
    capacity = read_capacity(proc=tmp_path, system=tmp_path)
    assert capacity.memory_bytes is None
    assert "No such file" in capacity.unknown["memory_bytes"]
