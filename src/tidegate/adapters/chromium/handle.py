"""One process held by a descriptor, which no later process of the same number can be taken for."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress


class ProcessHandle:
    """A process that somebody else started. Close it on the loop that made it."""

    def __init__(self, pid: int) -> None:
        """Take hold of the process.

        Raises:
            ProcessLookupError: it is gone already.
        """
        self.pid = pid
        self._fd: int | None = os.pidfd_open(pid)
        self._watched = False

    @property
    def alive(self) -> bool:
        """False from the moment the process ended, reaped or not."""
        if self._fd is None:
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call back once, from the event loop, when the process ends."""
        assert self._fd is not None
        asyncio.get_running_loop().add_reader(self._fd, self._exited, callback)
        self._watched = True

    def kill(self) -> None:
        """End the process, if it still runs."""
        if self._fd is not None:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._fd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the process without ending it. Idempotent."""
        self._unwatch()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _exited(self, callback: Callable[[], None]) -> None:
        self._unwatch()
        callback()

    def _unwatch(self) -> None:
        if self._watched and self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._watched = False
