"""What /proc shows of a service: its browsers while it runs, its descendants after its end.

A process is followed from when it was first seen below the service until it is gone: one whose
parent died is nobody's descendant any more and would be missed otherwise.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

PERIOD_S = 0.05
_BROWSER = re.compile(rb"(^|/)((chrome|chromium)(-headless-shell)?|headless_shell)\0")
_WORKER = b"tidegate.adapters.pdfium.worker"

Key = tuple[int, str]
"""A process id and when that process began: ids are given out again."""


class Watch:
    """Samples the processes below a service in a thread of its own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: set[Key] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self.samples = 0
        self.browsers_most = 0
        self.processes_most = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def browsers(self) -> list[int]:
        """Main processes: those without a type, whose parent is none of them.

        Between fork and exec a helper still bears the command line of its main process.
        """
        return _mains(self._look())

    def workers(self) -> list[int]:
        return [pid for pid in self._look() if _WORKER in _command(pid)]

    def left(self) -> list[str]:
        """The command lines of all that was seen and still runs."""
        running = [pid for pid, began in self._seen if _began(pid) == began]
        return [_command(pid).replace(b"\0", b" ").decode("utf-8", "replace") for pid in running]

    def _run(self) -> None:
        while not self._stopping.is_set():
            started_s = time.monotonic()
            running = self._look()
            self.samples += 1
            self.browsers_most = max(self.browsers_most, len(_mains(running)))
            self.processes_most = max(self.processes_most, len(running))
            self._stopping.wait(max(0.0, PERIOD_S - (time.monotonic() - started_s)))

    def _look(self) -> dict[int, int]:
        """Note what is below the service or what it started; return what of it runs, by parent."""
        strays = [pid for pid, began in self._seen.copy() if _began(pid) == began]
        waiting, running = [*strays, *_children(self._pid)], dict[int, int]()
        while waiting:
            pid = waiting.pop()
            fields = _stat(pid) if pid not in running else []
            if fields and fields[0] not in "ZX":
                running[pid] = int(fields[1])
                self._seen.add((pid, fields[19]))
                waiting += _children(pid)
        return running


def _mains(running: dict[int, int]) -> list[int]:
    mains = {pid for pid in running if is_browser(pid)}
    return [pid for pid in mains if running[pid] not in mains]


def is_browser(pid: int) -> bool:
    command = _command(pid)
    return b"--type=" not in command and bool(_BROWSER.search(command))


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def resident_mib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def cpu_s(pid: int) -> float:
    """CPU time of the process itself, its children left out."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _began(pid: int) -> str:
    """When the process began, in ticks; nothing for one that has ended, reaped or not."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else ""


def _stat(pid: int) -> list[str]:
    with suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return text[text.rindex(")") + 2 :].split()
    return []
