"""What was measured, where, and what else the machine was busy with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import tidegate
from admitting import own, peers

SOURCES = Path(tidegate.__file__).parent


def facts() -> dict[str, object]:
    return {
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"
        f" {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "tidegate": f"{importlib.metadata.version('tidegate')} {_revision()}".strip(),
        "form": "compiled" if own.COMPILED else "interpreted",
        "peers": peers.versions(),
        "load_before": os.getloadavg(),
    }


def header(facts: dict[str, object], mode: str) -> str:
    versions = facts["peers"]
    assert isinstance(versions, dict)
    return "\n".join(
        (
            f"Admission, {mode}: tidegate {facts['tidegate']}, {facts['form']};"
            f" {facts['python']}; {facts['machine']}",
            "Peers: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
            f"Load average before (neighbours included): {_loads(facts['load_before'])}",
        )
    )


def footer() -> str:
    return f"Load average after (this run included): {_loads(os.getloadavg())}"


def _loads(loads: object) -> str:
    assert isinstance(loads, tuple)
    return " ".join(f"{load:.2f}" for load in loads)


def _processor() -> str:
    """Return the model, which platform.processor() does not know on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _revision() -> str:
    """Return the commit, with a + when the sources differ from it; nothing without git."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return f"({commit}{'+' if _git('status', '--porcelain', '--', 'src') else ''})"
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=SOURCES, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
