"""The browsers of a service, as /proc shows them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def _parents() -> dict[int, int]:
    """Return the parent of every process that is no zombie."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(") ")[2].split()[:2]
                if state not in "ZX":
                    found[int(entry.name)] = int(parent)
    return found


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != ancestor:
        pid = parents[pid]
    return pid == ancestor


def _is_main(pid: int) -> bool:
    with suppress(OSError):
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        names = {argument.partition(b"=")[0] for argument in arguments}
        return b"--remote-debugging-pipe" in names and b"--type" not in names
    return False


def browsers(service: int) -> list[int]:
    """Return the main processes of the browsers that a service has started."""
    parents = _parents()
    return [pid for pid in parents if _descends(pid, service, parents) and _is_main(pid)]


def kill_browsers(service: int) -> int:
    """Kill every browser of a service, and return how many there were."""
    found = browsers(service)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)
