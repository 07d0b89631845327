"""What this process may use of its machine: what there is, less what affinity and groups forbid."""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.adapters.linux import cgroups
from tidegate.adapters.linux.machine import memory_reading
from tidegate.adapters.linux.topology import SYSTEM, read_topology
from tidegate.domain import cpu_set
from tidegate.domain.host_capacity import HostCapacity
from tidegate.domain.topology import Topology, flat


def read_capacity(*, proc: Path = cgroups.PROC, system: Path = SYSTEM) -> HostCapacity:
    """Return what this process may use now: CPUs, CPU time and memory.

    Args:
        proc: Where the kernel tells of processes.
        system: Where it tells of devices.
    """
    groups = cgroups.own_groups(proc)
    told_by: dict[str, str] = {}
    unknown: dict[str, str] = {}
    topology = _topology(groups, system, told_by, unknown)
    return HostCapacity(
        topology=topology,
        millicores=None if topology is None else _millicores(topology, groups, told_by),
        memory_bytes=_memory_bytes(groups, proc, told_by, unknown),
        told_by=told_by,
        unknown=unknown,
    )


def _topology(
    groups: dict[str, cgroups.Group],
    system: Path,
    told_by: dict[str, str],
    unknown: dict[str, str],
) -> Topology | None:
    """Return the CPUs that the affinity of this process and its group leave."""
    if not hasattr(os, "sched_getaffinity"):
        unknown["cpus"] = "this system does not tell which CPUs a process may use"
        return None
    cpus = cpu_set.of(os.sched_getaffinity(0))
    told_by["cpus"] = "affinity of this process"
    group = groups.get("cpuset")
    allowed = None if group is None else cgroups.cpuset(group)
    if group is not None and allowed is not None and cpus & allowed and cpus & ~allowed:
        cpus &= allowed
        told_by["cpus"] = f"CPUs of {group.folder}"
    whole = read_topology(system)
    if whole is None or cpus & ~whole.cpus:
        return flat(cpus)
    if cpus == whole.cpus:
        told_by["cpus"] = "CPUs that are online"
    return whole.within(cpus)


def _millicores(
    topology: Topology, groups: dict[str, cgroups.Group], told_by: dict[str, str]
) -> int:
    """Return the CPU time that a quota leaves of the CPUs."""
    millicores = 1000 * topology.cpus.bit_count()
    group = groups.get("cpu")
    quota = None if group is None else cgroups.cpu_quota(group)
    if quota is not None and quota[0] * 1000 < millicores:
        millicores = int(quota[0] * 1000)
        told_by["millicores"] = f"quota of {quota[1]}"
    else:
        told_by["millicores"] = told_by["cpus"]
    return millicores


def _memory_bytes(
    groups: dict[str, cgroups.Group], proc: Path, told_by: dict[str, str], unknown: dict[str, str]
) -> int | None:
    """Return the memory that the machine and the limits of groups leave."""
    total_bytes = None
    try:
        total_bytes = memory_reading((proc / "meminfo").read_bytes()).total_bytes
        told_by["memory_bytes"] = "memory of the machine"
    except OSError as error:
        unknown["memory_bytes"] = f"{proc / 'meminfo'}: {error.strerror or error}"
    except ValueError:
        unknown["memory_bytes"] = f"{proc / 'meminfo'}: not understood"
    group = groups.get("memory")
    limit = None if group is None else cgroups.memory_limit_bytes(group)
    if limit is not None and (total_bytes is None or limit[0] < total_bytes):
        unknown.pop("memory_bytes", None)
        told_by["memory_bytes"] = f"limit of {limit[1]}"
        return limit[0]
    return total_bytes
