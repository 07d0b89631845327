"""Memory of our own process tree, as the kernel counts it.

Proportional set size (PSS), because browsers and workers share most of their pages with each other
and adding up what is resident would count those many times over. Children are found by one look at
every /proc/<pid>/stat: the `children` file of the kernel may miss some while others end.

Source: proc_pid_smaps_rollup(5), proc_pid_stat(5), proc_pid_statm(5).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


class LinuxHost:
    """`Host` over /proc. `pid` is the root of the tree, this process by default."""

    def __init__(self, *, pid: int | None = None, proc: Path = _PROC) -> None:
        self._pid = pid
        self._proc = proc

    def tree_memory_bytes(self) -> int | None:
        """Memory of the tree now, or None without /proc. Resident size where PSS is secret."""
        root = os.getpid() if self._pid is None else self._pid
        measured = [
            _memory_bytes(self._proc, pid) for pid in (root, *descendants(root, self._proc))
        ]
        if measured[0] is None:
            return None
        return sum(each for each in measured if each is not None)


def descendants(pid: int, proc: Path = _PROC) -> list[int]:
    """Ids of all children of a process and theirs, at this moment, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for child, parent in _parents(proc):
        children[parent].append(child)
    found = [pid]
    for each in found:
        found += children.pop(each, [])
    return found[1:]


def _parents(proc: Path) -> Iterator[tuple[int, int]]:
    try:
        names = os.listdir(proc)  # noqa: PTH208 - half the time of Path.iterdir, and it is a loop
    except OSError:
        return
    for name in names:
        if name.isdecimal():
            stat = _read(f"{proc}/{name}/stat")
            # The name of the program is in parentheses and may hold parentheses itself.
            fields = stat.rpartition(b")")[2].split(maxsplit=2)
            if len(fields) == 3:
                yield int(name), int(fields[1])


def _memory_bytes(proc: Path, pid: int) -> int | None:
    for line in _read(f"{proc}/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    fields = _read(f"{proc}/{pid}/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else None


def _read(path: str) -> bytes:
    """A small file of /proc; empty if the process is gone or not ours to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
