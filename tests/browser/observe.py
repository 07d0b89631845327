"""What /proc and the file system tell about a browser under test."""

from __future__ import annotations

import time
from pathlib import Path

from tidegate.adapters.chromium.processes import ProcessTree, is_running


def running(leader: int) -> list[int]:
    return [pid for pid in ProcessTree(leader=leader, uid=None).pids() if is_running(pid)]


def wait_until_gone(pid: int, *, within_s: float = 10) -> None:
    """The process and, where it leads a session, all of that."""
    until_s = time.monotonic() + within_s
    while is_running(pid) or running(pid):
        assert time.monotonic() < until_s, f"still running: {pid} {running(pid)}"
        time.sleep(0.02)


def node_pid(work_dir: Path) -> int:
    return int((work_dir / "node.pid").read_text())


def proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def real(path: Path) -> Path:
    return path.resolve()


def names(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))
