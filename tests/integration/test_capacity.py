"""What a process may use inside real control groups, as it finds out by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tidegate.adapters.linux.capacity import read_capacity

MIB = 1 << 20
LOOK = """
import json, sys
from pathlib import Path
for procs in sys.argv[1:]:
    Path(procs).write_text("0")
from tidegate.adapters.linux.capacity import read_capacity
seen = read_capacity()
print(json.dumps([seen.topology.cpus, seen.millicores, seen.memory_bytes, dict(seen.told_by)]))
"""


@contextmanager
def group(controller: str, **settings: str) -> Iterator[Path]:
    """Make a group of version 1 with these settings."""
    folder = Path(f"/sys/fs/cgroup/{controller}/tidegate-test-{os.getpid()}")
    folder.mkdir()
    try:
        for name, value in settings.items():
            (folder / name.replace("__", ".")).write_text(value)
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.needs("root", "cgroup_v1")
def test_limits_of_version_1_are_found() -> None:
    cpu = min(os.sched_getaffinity(0))
    with (
        group("memory", memory__limit_in_bytes=f"{300 * MIB}") as memory,
        group("cpuset", cpuset__mems="0", cpuset__cpus=f"{cpu}") as cpus,
        group("cpu", cpu__cfs_period_us="100000", cpu__cfs_quota_us="50000") as quota,
    ):
        procs = [str(folder / "cgroup.procs") for folder in (memory, cpus, quota)]
        told = subprocess.run(
            [sys.executable, "-c", LOOK, *procs], check=True, capture_output=True, timeout=60
        ).stdout
    assert json.loads(told) == [
        1 << cpu,
        500,
        300 * MIB,
        {
            # The group changed the affinity of those who joined it.
            "cpus": "affinity of this process",
            "millicores": f"quota of {quota}",
            "memory_bytes": f"limit of {memory}",
        },
    ]


def test_this_process_may_use_something() -> None:
    seen = read_capacity()
    assert seen.topology is not None
    assert seen.millicores is not None
    assert 0 < seen.millicores <= 1000 * seen.topology.cpus.bit_count()
    assert seen.memory_bytes is not None
    assert seen.memory_bytes > 64 * MIB
    assert not seen.unknown
