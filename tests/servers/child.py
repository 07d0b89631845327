"""One server as a child process that can be killed, frozen, thawed and started again."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import leftovers
from tests.servers.folders import new_folder
from tests.servers.ports import free_port

START_S = 60.0
"""For what takes a tenth of a second: machines that run tests are busy."""
_STARTS_MAX = 5
_LOOK_EVERY_S = 0.005


class Child:
    """A server in a folder of its own, on a port of its own. A context manager that starts it."""

    name = "server"
    user: str | None = None
    """Who runs it where the tests run as root; None: whoever runs the tests."""

    def __init__(self) -> None:
        self.folder = new_folder(self.name)
        self.port = free_port()
        self._log = self.folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it wrote since it was made."""
        return self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""

    @abstractmethod
    def command(self) -> list[str]:
        """Return what starts the server, on `self.port` and in `self.folder`."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Say whether the server answers."""

    def start(self) -> Self:
        """Start it for the first time; somebody else's port is tried only once."""
        for _ in range(_STARTS_MAX):
            if self._came_up():
                return self
            self.port = free_port()
        raise AssertionError(f"{self.name} does not start:\n{self.log}")

    def restart(self) -> None:
        """Start it again after `kill`, on the same port and with the same data."""
        assert not self.is_running, f"{self.name} still runs"
        assert self._came_up(), f"{self.name} does not come back:\n{self.log}"

    def kill(self) -> None:
        """End it as a power cut would, with every process it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            leftovers.kill_below(self.folder)
            self._process.wait(START_S)

    def freeze(self) -> None:
        """Let every process of it hang: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)
        self.wait_until(self.is_frozen, "frozen")

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._signal(signal.SIGCONT)

    def is_frozen(self) -> bool:
        """Whether all of it hangs."""
        states = {_state(pid) for pid in (self.pid, *leftovers.processes_below(self.folder))}
        return states <= {"T", ""}

    def close(self) -> None:
        """End it and remove its folder. Idempotent."""
        self.kill()
        leftovers.clear(self.folder)

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for a condition; fail, with the log, when it does not come."""
        end_s = time.monotonic() + START_S
        while not true():
            assert time.monotonic() < end_s, f"{self.name}: not in time: {what}\n{self.log}"
            time.sleep(_LOOK_EVERY_S)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _came_up(self) -> bool:
        """Start the process, and wait until it is ready or has ended."""
        process = self._process = self._spawn()
        self.wait_until(lambda: process.poll() is not None or self.is_ready(), "ready")
        return process.poll() is None

    def _spawn(self) -> subprocess.Popen[bytes]:
        account = account_of(self.user)
        if account is not None:
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                # Ctrl-C reaches the tests, which end what they started.
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )

    def _signal(self, number: signal.Signals) -> None:
        # The first one first: frozen, it starts no more.
        os.kill(self.pid, number)
        for pid in leftovers.processes_below(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _state(pid: int) -> str:
    """Return the letter for what a process does, or nothing when it is gone; see proc(5)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
    return ""


def account_of(user: str | None) -> pwd.struct_passwd | None:
    """Return the account to run as: none if there is no need to change, or no right to."""
    if user is None or os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(user)
    return pwd.getpwnam("nobody")
