"""One browser's processes, as /proc shows them.

playwright starts a browser as the leader of a session, and all its helpers stay in it, so the
session is the tree. Where the browser has a user of its own, that user's processes count too:
a helper that was broken into may leave the session, but not its user.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_POLL_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessTree:
    """All processes of the browser whose main process is `leader`. `uid` is its own user or None.

    Every method blocks on /proc for a few milliseconds.
    """

    leader: int
    uid: int | None

    def pids(self) -> list[int]:
        """The processes of the session, zombies included."""
        return [pid for pid in _all_pids() if _session(pid) == self.leader]

    def renderers(self) -> list[int]:
        """Those that run pages."""
        return [pid for pid in self.pids() if b"--type=renderer" in _read(pid, "cmdline")]

    def memory_bytes(self) -> int:
        """Memory of the whole tree, what is shared counted once where we may look."""
        return sum(proportional_bytes(pid) for pid in self.pids())

    def end(self, *, within_s: float) -> bool:
        """Kill until none runs, and reap those that became our children. False: some still run."""
        until_s = time.monotonic() + within_s
        seen: set[int] = set()
        while running := [pid for pid in self._members() if is_running(pid)]:
            if time.monotonic() > until_s:
                return False
            seen.update(running)
            for pid in running:
                kill(pid)
            time.sleep(_POLL_S)
        for pid in seen:
            # As process 1 of a container we inherit the orphans; elsewhere init reaps them.
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return True

    def _members(self) -> list[int]:
        if self.uid is None:
            return self.pids()
        # The user tells more than the session, whose number may be another's by now.
        return [pid for pid in _all_pids() if _owner(pid) == self.uid]


def resident_bytes(pid: int) -> int:
    """Resident memory of one process, shared pages included; 0 when it is gone."""
    fields = _read(pid, "statm").split()
    return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 else 0


def proportional_bytes(pid: int) -> int:
    """Memory with shared pages divided among their users, or resident where that is hidden."""
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return resident_bytes(pid)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    stat = _read(pid, "stat")
    return bool(stat) and stat[stat.rindex(b")") + 2 :][:1] not in (b"Z", b"X")


def is_confined(pid: int) -> bool:
    """Whether a seccomp filter is on the process: Chromium's sandbox holds it."""
    return _status(pid, b"Seccomp:") == b"2"


def kill(pid: int) -> None:
    """End one process, if it is still there and ours to end."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _owner(pid: int) -> int | None:
    uid = _status(pid, b"Uid:")
    return int(uid) if uid else None


def _status(pid: int, field: bytes) -> bytes:
    for line in _read(pid, "status").splitlines():
        if line.startswith(field):
            return line.split()[1]
    return b""


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
