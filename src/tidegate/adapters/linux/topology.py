"""The topology of this machine, as the kernel tells it under /sys/devices/system.

CPUs that are offline are left out. What a kernel does not tell - virtual machines often hide
caches, small boards have no memory nodes - counts as one set of all.

Source: Documentation/ABI/stable/sysfs-devices-system-cpu of the kernel; for hybrid machines the
lists under /sys/devices/cpu_core and cpu_atom (Intel), and `cpu_capacity` (Arm).
"""

from __future__ import annotations

from pathlib import Path

from tidegate.domain.cpu_set import members, parsed
from tidegate.domain.topology import Topology, flat
from tidegate.errors import InvalidSetting

SYSTEM = Path("/sys/devices/system")


def read_topology(system: Path = SYSTEM) -> Topology | None:
    """Return how the CPUs lie that are online, or None where the kernel does not even say which.

    Args:
        system: Where the kernel tells it; another folder for recorded machines.
    """
    cpus = _list(system / "cpu" / "online")
    if not cpus:
        return None
    folders = {cpu: system / "cpu" / f"cpu{cpu}" for cpu in members(cpus)}
    cores = [_list(folder / "topology" / "core_cpus_list") for folder in folders.values()]
    cores = cores if all(cores) else [_siblings(folder) for folder in folders.values()]
    caches = [_last_cache(folder) for folder in folders.values()]
    sockets = [_list(folder / "topology" / "package_cpus_list") for folder in folders.values()]
    nodes = [_list(folder / "cpulist") for folder in sorted((system / "node").glob("node[0-9]*"))]
    try:
        return Topology(
            cpus,
            _sets(cores, cpus) or flat(cpus).cores,
            _sets(caches, cpus) or (cpus,),
            _sets(nodes, cpus) or (cpus,),
            _sets(sockets, cpus) or (cpus,),
            _classes(system, folders, cpus),
        )
    except InvalidSetting:
        # Levels that contradict each other say nothing.
        return flat(cpus)


def _sets(found: list[int], cpus: int) -> tuple[int, ...]:
    """Return distinct sets by their lowest CPU; none where they do not divide the CPUs."""
    sets = sorted({each & cpus for each in found} - {0}, key=lambda each: each & -each)
    together = 0
    for each in sets:
        if each & together:
            return ()
        together |= each
    return tuple(sets) if together == cpus else ()


def _siblings(folder: Path) -> int:
    """Return what shares a core, as kernels before 5.3 call it."""
    return _list(folder / "topology" / "thread_siblings_list")


def _last_cache(folder: Path) -> int:
    """Return what shares the cache of the highest level."""
    found = {}
    for index in folder.glob("cache/index[0-9]*"):
        level = _text(index / "level")
        if level.isdecimal():
            found[int(level)] = _list(index / "shared_cpu_list")
    return found[max(found)] if found else 0


def _classes(system: Path, folders: dict[int, Path], cpus: int) -> tuple[int, ...]:
    """Return CPUs of one kind, the fastest kind first."""
    fast = _list(system.parent / "cpu_core" / "cpus") & cpus
    slow = _list(system.parent / "cpu_atom" / "cpus") & cpus
    if fast and slow and fast | slow == cpus and not fast & slow:
        return (fast, slow)
    by_capacity: dict[int, int] = {}
    for cpu, folder in folders.items():
        text = _text(folder / "cpu_capacity")
        capacity = int(text) if text.isdecimal() else 0
        by_capacity[capacity] = by_capacity.get(capacity, 0) | 1 << cpu
    return tuple(by_capacity[capacity] for capacity in sorted(by_capacity, reverse=True))


def _list(path: Path) -> int:
    try:
        return parsed(_text(path))
    except InvalidSetting:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
