"""`tidegate doctor`: what this machine has, what it can enforce, and what to grant it for more."""

from __future__ import annotations

import json
from typing import Any

import click

from tidegate.bootstrap.doctor import Findings, examine
from tidegate.domain.cpu_set import described
from tidegate.domain.topology import Topology
from tidegate.entrypoints.cli.output import say

_NAMES = {
    "cpu_pinning": "pin CPUs",
    "cpu_time": "limit CPU time",
    "memory": "limit memory",
    "processes": "limit processes",
    "disk_bandwidth": "limit disk bandwidth",
    "network_bandwidth": "limit network bandwidth",
    "gpu": "hand out GPUs",
}
_WIDTH = max(map(len, _NAMES.values())) + 2


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def doctor(as_json: bool) -> None:
    """Tell what this machine has, what it can enforce, and what to grant it for more.

    `enforced` is kept by the kernel, `advisory` could be undone by the process itself, `accounted`
    is counted only.
    """
    findings = examine()
    if as_json:
        say(json.dumps(_told(findings), indent=2))
        return
    say("What there is for this process")
    for line in _stock(findings):
        say(f"  {line}")
    say("\nWhat can be done with processes")
    for ability in findings.abilities:
        say(f"  {_NAMES[ability.name]:{_WIDTH}}{ability.level:11}{ability.how}")
        if ability.advice:
            say(f"  {'':{_WIDTH}}{'':11}for more: {ability.advice}")


def _stock(findings: Findings) -> list[str]:
    capacity, sample = findings.capacity, findings.sample
    told_by, unknown = capacity.told_by, {**capacity.unknown, **sample.unknown}
    lines = []
    if capacity.topology is None:
        lines.append(_line("CPUs", f"unknown: {unknown['cpus']}"))
    else:
        lines.append(_line("CPUs", f"{_lie(capacity.topology)} ({told_by['cpus']})"))
        share = (capacity.millicores or 0) / 1000
        lines.append(_line("CPU time", f"{share:g} CPUs ({told_by['millicores']})"))
    if capacity.memory_bytes is None:
        lines.append(_line("memory", f"unknown: {unknown['memory_bytes']}"))
    else:
        lines.append(_line("memory", f"{_gib(capacity.memory_bytes)} ({told_by['memory_bytes']})"))
    if sample.memory is not None:
        lines.append(_line("", f"{_gib(sample.memory.available_bytes)} of it available now"))
    for resource in ("cpu", "memory", "io"):
        felt = sample.pressure.get(resource)
        what = f"pressure on {resource}"
        if felt is None:
            lines.append(_line(what, f"unknown: {unknown[f'pressure.{resource}']}"))
        else:
            lines.append(_line(what, f"{felt.some_percent:g} % of the last 10 s"))
    return lines


def _line(what: str, found: str) -> str:
    return f"{what:{_WIDTH}}{found}"


def _lie(topology: Topology) -> str:
    """Say how many CPUs there are, and what they share."""
    parts = [f"{described(topology.cpus)}: {_count(topology.cpus.bit_count(), 'CPU')}"]
    levels = (
        ("core", topology.cores),
        ("cache", topology.caches),
        ("memory node", topology.nodes),
        ("socket", topology.sockets),
        ("class", topology.classes),
    )
    parts += [_count(len(sets), name) for name, sets in levels]
    return ", ".join(parts)


def _count(number: int, name: str) -> str:
    plural = "es" if name == "class" else "s"
    return f"{number} {name}{plural if number != 1 else ''}"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB"


def _told(findings: Findings) -> dict[str, Any]:
    capacity, sample, topology = findings.capacity, findings.sample, findings.capacity.topology
    memory = sample.memory
    return {
        "cpus": None if topology is None else described(topology.cpus),
        "millicores": capacity.millicores,
        "memory_bytes": capacity.memory_bytes,
        "memory_available_bytes": None if memory is None else memory.available_bytes,
        "pressure_percent": {
            resource: felt.some_percent for resource, felt in sample.pressure.items()
        },
        "told_by": dict(capacity.told_by),
        "unknown": {**capacity.unknown, **sample.unknown},
        "abilities": [
            {"name": each.name, "level": each.level, "how": each.how, "advice": each.advice}
            for each in findings.abilities
        ],
    }
