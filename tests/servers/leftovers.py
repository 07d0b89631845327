"""Removing a folder and every process that works in it; run as a script, a guard over one folder.

Servers work in their own folders, so a folder finds its processes, also those that a server
forked and that changed their session. As a script it waits for the end of its input, which the
kernel closes however its parent ends, and then clears the folder. It imports nothing of ours: it
starts before every server.

Source: proc(5), shmctl(2).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_IPC_RMID = 0
_SEGMENT_LINE = 6
"""Of postmaster.pid: "key id" of the System V segment that only the postmaster removes."""
_GONE_WITHIN_S = 10.0


def clear(folder: Path) -> None:
    """Kill what works below the folder, then remove it with the memory its servers shared."""
    kill_below(folder)
    for path in folder.rglob("postmaster.pid"):
        _remove_segment(path)
    shutil.rmtree(folder, ignore_errors=True)


def kill_below(folder: Path) -> None:
    """Kill every process whose working folder lies there, and wait until they are gone."""
    end_s = time.monotonic() + _GONE_WITHIN_S
    while (pids := processes_below(folder)) and time.monotonic() < end_s:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def processes_below(folder: Path) -> list[int]:
    """Return the processes whose working folder lies there. Those that died have none."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            # A removed folder reads "<path> (deleted)", and is no longer below anything.
            if (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
    return found


def _remove_segment(path: Path) -> None:
    with suppress(OSError, IndexError, ValueError):
        identifier = int(path.read_text().splitlines()[_SEGMENT_LINE].split()[1])
        ctypes.CDLL(None).shmctl(identifier, _IPC_RMID, None)


if __name__ == "__main__":
    sys.stdin.read()
    clear(Path(sys.argv[1]))
