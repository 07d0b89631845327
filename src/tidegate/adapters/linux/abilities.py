"""What this process may do on this machine, found out by trying where that changes nothing.

A group is made and removed again, since a file system may look writable and refuse. Nothing else is
touched: whether controllers could be switched on further up is not tried, but said.

Source: cgroups(7), capabilities(7), sched_setaffinity(2), setrlimit(2).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
from pathlib import Path

from tidegate.adapters.linux.cgroups import PROC, Group, own_groups
from tidegate.domain.ability import Ability, Level

_NET_ADMIN = 12
"""The number of the capability that traffic control needs."""
_GROUPS: tuple[tuple[str, str, Level, str], ...] = (
    # What it is called here, the controller, and what remains without it.
    ("cpu_time", "cpu", "advisory", "nice"),
    ("memory", "memory", "advisory", "rlimits of each process"),
    ("processes", "pids", "advisory", "rlimits of the user"),
    ("disk_bandwidth", "io", "accounted", "what is written is counted"),
)


def find_abilities(*, proc: Path = PROC) -> list[Ability]:
    """Return what can be done here, thing by thing.

    Args:
        proc: Where the kernel tells of processes.
    """
    groups = own_groups(proc)
    found = [_pinning(groups)]
    for name, controller, level, without in _GROUPS:
        why_not = _why_no_group(groups.get(controller), controller)
        if why_not is None:
            group = groups[controller]
            how = f"control group of version {group.version} under {group.folder}"
            found.append(Ability(name=name, level="enforced", how=how))
        else:
            how = f"{without}; {why_not[0]}"
            found.append(Ability(name=name, level=level, how=how, advice=why_not[1]))
    return [*found, _bandwidth(proc), _gpus()]


def _pinning(groups: dict[str, Group]) -> Ability:
    group = groups.get("cpuset")
    why_not = _why_no_group(group, "cpuset")
    if group is not None and why_not is None:
        how = f"CPU set of version {group.version} under {group.folder}"
        return Ability(name="cpu_pinning", level="enforced", how=how)
    reason, advice = why_not or ("", "")
    if not hasattr(os, "sched_setaffinity"):
        return Ability(name="cpu_pinning", level="accounted", how="this system pins no process")
    return Ability(
        name="cpu_pinning", level="advisory", how=f"sched_setaffinity; {reason}", advice=advice
    )


def _why_no_group(group: Group | None, controller: str) -> tuple[str, str] | None:
    """Return why groups of a controller cannot be made, and what would help; None if they can."""
    if group is None:
        advice = "mount control groups of version 2, or a container with its own (--cgroupns)"
        return f"no control group has the {controller} controller here", advice
    probe = group.folder / f"tidegate-probe-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError as error:
        reason = f"{group.folder} may not be written to: {error.strerror}"
        return reason, "delegate the group to this user (systemd: Delegate=yes), or run as root"
    try:
        given = controller if group.version == 1 else (probe / "cgroup.controllers").read_text()
    finally:
        probe.rmdir()
    if controller in given.split():
        return None
    reason = f"{group.folder} does not hand the {controller} controller to groups below it"
    return reason, f"write +{controller} to {group.folder}/cgroup.subtree_control"


def _bandwidth(proc: Path) -> Ability:
    name = "network_bandwidth"
    if not _may_shape(proc):
        how, advice = "no right to shape traffic", "grant CAP_NET_ADMIN, or run as root"
    elif shutil.which("tc") is None:
        how, advice = "there is no tc command", "install iproute2"
    else:
        return Ability(name=name, level="enforced", how="traffic control by tc")
    return Ability(name=name, level="accounted", how=f"counters only; {how}", advice=advice)


def _may_shape(proc: Path) -> bool:
    try:
        status = (proc / "self" / "status").read_text("ascii", "replace")
    except OSError:
        return False
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _NET_ADMIN & 1)
    return False


def _gpus() -> Ability:
    """Ask the driver's own library for the number of its devices."""
    without = "install the driver of NVIDIA, whose library is libnvidia-ml.so.1"
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        how = "no GPU can be seen: there is no libnvidia-ml.so.1"
        return Ability(name="gpu", level="accounted", how=how, advice=without)
    status = library.nvmlInit_v2()
    count = ctypes.c_uint(0)
    if status == 0:
        status = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        library.nvmlShutdown()
    if status != 0 or not count.value:
        how = f"no GPU answers: NVML says {status}, {count.value} devices"
        return Ability(name="gpu", level="accounted", how=how, advice="a device, and its driver")
    how = f"{count.value} devices, by CUDA_VISIBLE_DEVICES"
    return Ability(name="gpu", level="advisory", how=how)
