"""Starting a PDF worker as a fresh process and measuring it.

A fresh process and not a fork: threads and the event loop are alive here, and a fork would carry
keys and sockets along. Plain `Popen` and one socket behave alike on every event loop; asyncio's
own child handling differs between them and can leave a pipe open when an answer is cut off.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

# Without these some installations cannot load the interpreter itself.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
# Each page lets go of what the next one takes again; with 1 MiB of slack the C library does not
# return it to the system in between: 95 ms of CPU time for 120 pages instead of 130.
_ALLOCATOR = {"MALLOC_TOP_PAD_": str(2**20)}


def spawn(stdin: socket.socket, *, memory_bytes_max: int, uid: int) -> subprocess.Popen[bytes]:
    """Start a worker that talks over `stdin`.

    Raises:
        OSError: the system has no room for a process.
    """
    command = [sys.executable, "-P", "-m", "tidegate.adapters.pdfium.worker"]
    # A session of its own: Ctrl-C in the terminal is the service's to answer, not the worker's.
    return subprocess.Popen(  # noqa: S603 - our own interpreter and numbers
        [*command, str(os.getpid()), str(memory_bytes_max), str(uid)],
        stdin=stdin.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """No secret, but where the modules are: wherever this process finds them, the worker does."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    paths = [path for path in sys.path if Path(path).is_absolute()]
    return {**kept, **_ALLOCATOR, "PYTHONPATH": os.pathsep.join(paths)}


def memory_bytes(pid: int) -> int | None:
    """Memory of one process, shared pages by share where that may be read, or None."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError):
        resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return resident_pages * os.sysconf("SC_PAGE_SIZE")
    return None
