"""What there is of a machine for this process, before anything is given away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.domain.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCapacity:
    """Discovered, never assumed; `unknown` says what could not be found out, and why.

    Args:
        topology: The CPUs that may be used; None where the system does not say.
        millicores: CPU time that may be used: 1000 for each CPU, less under a quota.
        memory_bytes: Memory that may be used.
        told_by: What set each of `cpus`, `millicores` and `memory_bytes`, for people.
        unknown: Reasons by the same names.
    """

    topology: Topology | None = None
    millicores: int | None = None
    memory_bytes: int | None = None
    told_by: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
