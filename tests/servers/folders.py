"""Throw-away folders of servers, which vanish with their processes however the tests end.

One root for each test process. A guard process clears it when the test process is gone, killed or
not; should the guard be killed as well, the next test process finds the root unlocked and does it.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.servers import leftovers

PREFIX = "tidegate-servers-"
_GUARD_END_S = 30.0


def new_folder(name: str) -> Path:
    """Make a folder for one server. Other users may pass through: a server may run as one."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_root()))


@functools.cache
def _root() -> Path:
    above = Path(tempfile.gettempdir())
    _sweep(above)
    # Locked before it has the name that others look for.
    root = Path(tempfile.mkdtemp(prefix="tidegate-new-", dir=above))
    root.chmod(0o711)
    lock = _lock(root)
    root = root.rename(above / root.name.replace("tidegate-new-", PREFIX))
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", leftovers.__file__, str(root)],
        stdin=subprocess.PIPE,
        cwd="/",
        # Ctrl-C and the end of the terminal reach the tests, not the one who clears up after them.
        start_new_session=True,
    )
    atexit.register(_end, guard, lock)
    return root


def _end(guard: subprocess.Popen[bytes], lock: int | None) -> None:
    guard.communicate(timeout=_GUARD_END_S)
    if lock is not None:
        os.close(lock)


def _sweep(above: Path) -> None:
    for root in above.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = _lock(root)
            if lock is not None:
                leftovers.clear(root)
                os.close(lock)


def _lock(root: Path) -> int | None:
    """Take the root for this process, or return None if its owner lives."""
    handle = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
