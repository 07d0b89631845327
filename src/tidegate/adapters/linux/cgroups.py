"""Control groups as this process finds them: where they are mounted, and what they allow.

Both versions may be mounted side by side, each with some of the controllers. A limit holds for all
groups below the one that has it, so every limit is looked for from our own group up to the root of
what is mounted here; in a container that root is the container's own group.

Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tidegate.domain.cpu_set import parsed
from tidegate.errors import InvalidSetting

PROC = Path("/proc")
_NO_LIMIT_BYTES = 1 << 62
"""Version 1 says "no limit" by a number that no machine has as memory."""
_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Group:
    """Our group of one controller: the folder it is in, and the root of what is mounted."""

    version: int
    folder: Path
    root: Path

    def upwards(self) -> Iterator[Path]:
        """Return its folder, then that of each group above."""
        folder = self.folder
        while True:
            yield folder
            if folder == self.root or self.root not in folder.parents:
                return
            folder = folder.parent


def own_groups(proc: Path = PROC) -> dict[str, Group]:
    """Return the group this process is in by controller: cpu, cpuset, cpuacct, memory, io, ...

    A controller that both versions have is that of the version whose group controls it: version 1
    where it is mounted there, since the other one cannot have it then.
    """
    mounts = _mounts(proc / "self" / "mountinfo")
    found: dict[str, Group] = {}
    for line in _lines(proc / "self" / "cgroup"):
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        controllers = names.split(",") if number != "0" else [""]
        for controller in controllers:
            mount = mounts.get(controller)
            if mount is None or "=" in controller:
                # Not mounted here, or a hierarchy that controls nothing.
                continue
            point, within = mount
            group = _group(2 if number == "0" else 1, point, within, path)
            if number == "0":
                for each in _V2_CONTROLLERS:
                    if each in _words(group.folder / "cgroup.controllers"):
                        found.setdefault(each, group)
            else:
                found["io" if controller == "blkio" else controller] = group
    return found


def memory_limit_bytes(group: Group) -> tuple[int, Path] | None:
    """Return the lowest limit on memory, and the folder that has it; None without one."""
    name = "memory.max" if group.version == 2 else "memory.limit_in_bytes"
    limits = [
        (int(text), folder)
        for folder in group.upwards()
        if (text := _text(folder / name)).isdecimal() and int(text) < _NO_LIMIT_BYTES
    ]
    return min(limits, key=lambda limit: limit[0], default=None)


def cpu_quota(group: Group) -> tuple[Fraction, Path] | None:
    """Return the lowest limit on CPU time, in CPUs, and the folder that has it; None without."""
    limits = []
    for folder in group.upwards():
        if group.version == 2:
            quota, _, period = _text(folder / "cpu.max").partition(" ")
        else:
            quota = _text(folder / "cpu.cfs_quota_us")
            period = _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append((Fraction(int(quota), int(period)), folder))
    return min(limits, key=lambda limit: limit[0], default=None)


def cpuset(group: Group) -> int | None:
    """Return the CPUs that the group may use, as in `domain/cpu_set`; None if nobody says."""
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
        try:
            cpus = parsed(_text(group.folder / name))
        except InvalidSetting:
            continue
        if cpus:
            return cpus
    return None


def _group(version: int, point: Path, within: str, path: str) -> Group:
    """Return the folder of a group, where what is mounted may be a part of the tree."""
    if within != "/" and (path == within or path.startswith(f"{within}/")):
        path = path[len(within) :]
    folder = point / path.lstrip("/")
    # In a namespace of its own a process may be shown paths that are not mounted for it.
    is_here = ".." not in folder.parts and folder.is_dir()
    return Group(version, folder if is_here else point, point)


def _mounts(path: Path) -> dict[str, tuple[Path, str]]:
    """Return mount point and what of the tree is mounted there, by controller; "" is version 2."""
    found: dict[str, tuple[Path, str]] = {}
    for line in _lines(path):
        fields, _, rest = line.partition(" - ")
        words, after = fields.split(), rest.split()
        if len(words) < 5 or len(after) < 3:
            continue
        mount = (Path(_unescaped(words[4])), _unescaped(words[3]))
        if after[0] == "cgroup2":
            found[""] = mount
        elif after[0] == "cgroup":
            for option in after[2].split(","):
                found.setdefault(option, mount)
    return found


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, where blanks and the like are octal."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def _lines(path: Path) -> list[str]:
    return _text(path).splitlines()


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
