"""Machines that tests run on only in thought: see README.md."""

from __future__ import annotations

from pathlib import Path

from tidegate.adapters.linux.topology import read_topology
from tidegate.domain.topology import Topology

HERE = Path(__file__).parent


def machine(name: str, folder: Path) -> Topology:
    """Write down in a folder what the kernel of a machine tells, and read it."""
    for line in (HERE / f"{name}.txt").read_text("ascii").splitlines():
        path, _, content = line.partition(" ")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{content}\n", "ascii")
    topology = read_topology(folder / "system")
    assert topology is not None
    return topology
