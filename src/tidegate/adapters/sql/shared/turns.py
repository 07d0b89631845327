"""Threads that take turns at one connection, which belongs to the process that made it.

A forked child has the parent's socket or file open, too. It must neither use nor close what is
behind it, so it makes a connection of its own and leaves the other one as it is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tidegate.errors import InvalidSetting, StoreUnavailable

TIMEOUT_MAX_S = 3_600


class Turns:
    """One thread at a time; the others wait for it no longer than for a server.

    Raises:
        InvalidSetting: the timeout is no time.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        if not 0.01 <= timeout_s <= TIMEOUT_MAX_S:
            raise InvalidSetting("timeout_s", timeout_s, f"0.01..{TIMEOUT_MAX_S} seconds")
        self._name, self._timeout_s = name, timeout_s
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that `begin` was called in."""
        return self._pid != os.getpid()

    def begin(self) -> None:
        """Count everything from now on as made in this process."""
        if self.forked:
            # Whoever held the lock in the parent is not here to release it.
            self._lock = threading.Lock()
            self._pid = os.getpid()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn. Raises StoreUnavailable if that takes too long."""
        if self.forked:
            raise StoreUnavailable(f"{self._name}: not connected in this process, which was forked")
        if not self._lock.acquire(timeout=self._timeout_s):
            raise StoreUnavailable(f"{self._name}: too many threads wait for it")
        try:
            yield
        finally:
            self._lock.release()
