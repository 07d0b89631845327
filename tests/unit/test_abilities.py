"""What can be done with processes, where groups are there, half there, and not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.test_cgroups import Tree
from tidegate.adapters.linux.abilities import find_abilities
from tidegate.domain.ability import Ability
from tidegate.entrypoints.cli import cli


def ability(tree: Tree, name: str) -> Ability:
    return next(each for each in find_abilities(proc=tree.proc) if each.name == name)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_without_groups_little_is_enforced(tree: Tree) -> None:
    levels = {each.name: each.level for each in find_abilities(proc=tree.proc)}
    assert "enforced" not in {levels[name] for name in ("cpu_time", "memory", "processes")}
    pinning = ability(tree, "cpu_pinning")
    assert (pinning.level, pinning.advice != "") == ("advisory", True)
    assert "no control group has the memory controller" in ability(tree, "memory").how


def test_groups_of_version_1_that_may_be_made_are_used_and_left_alone(tree: Tree) -> None:
    tree.mount("cg/memory", "cgroup", "rw,memory")
    tree.join("4:memory:/mine")
    tree.put("cg/memory/mine/memory.limit_in_bytes", "1\n")
    memory = ability(tree, "memory")
    assert (memory.level, memory.advice) == ("enforced", "")
    assert str(tree.root / "cg/memory/mine") in memory.how
    assert [path.name for path in (tree.root / "cg/memory/mine").iterdir()] == [
        "memory.limit_in_bytes"
    ]


def test_groups_that_may_not_be_made_say_why(tree: Tree) -> None:
    tree.mount("cg/memory", "cgroup", "rw,memory")
    tree.join("4:memory:/mine")
    # Nothing can be made below a file, whoever asks.
    tree.put("cg/memory", "")
    memory = ability(tree, "memory")
    assert memory.level == "advisory"
    assert "may not be written to" in memory.how
    assert "Delegate=yes" in memory.advice


def test_version_2_has_to_hand_a_controller_on(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.mount("cg", "cgroup2")
    tree.join("0::/")
    tree.put("cg/cgroup.controllers", "cpu memory\n")
    make = Path.mkdir

    def make_group(path: Path) -> None:
        make(path)
        (path / "cgroup.controllers").write_text("cpu\n")

    monkeypatch.setattr(Path, "mkdir", make_group)
    # A folder of the kernel's vanishes with the files in it.
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)
    assert ability(tree, "cpu_time").level == "enforced"
    memory = ability(tree, "memory")
    assert memory.level == "advisory"
    assert memory.advice == f"write +memory to {tree.root / 'cg'}/cgroup.subtree_control"


@pytest.mark.parametrize(("rights", "may"), [("1fffffffff", True), ("0000000000", False)])
def test_traffic_is_shaped_by_those_who_may(tree: Tree, rights: str, may: bool) -> None:
    tree.put("proc/self/status", f"Name:\tx\nCapEff:\t{rights}\n")
    shaping = ability(tree, "network_bandwidth")
    assert ("no right" not in shaping.how) == may


def test_the_command_tells_of_this_machine() -> None:
    plain = CliRunner().invoke(cli, ["doctor"])
    assert plain.exit_code == 0
    assert "limit memory" in plain.output
    told = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).output)
    assert told["memory_bytes"] > 0
    assert {each["name"] for each in told["abilities"]} >= {"cpu_pinning", "memory", "gpu"}
