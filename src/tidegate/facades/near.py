"""Telling somebody that limits come near, without holding up decisions.

The store notes an event inside its lock, which costs an append. Whoever was decided for tells it,
after every lock is free: what the listener does, or raises, changes no decision.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

NearListener = Callable[[str, tuple[str, ...], int], object]
"""Hears the limit, the scope, and the units left there, once for each crossing."""

NOTED_MAX = 10_000

_log = logging.getLogger(__name__)


class NearEvents:
    """Events that were noted and not told yet. More than `NOTED_MAX` push out the oldest."""

    def __init__(self, listener: NearListener) -> None:
        self._listener = listener
        self._noted: deque[tuple[str, tuple[str, ...], int]] = deque(maxlen=NOTED_MAX)

    def note(self, limit: str, scope: tuple[str, ...], remaining: int) -> None:
        """Note an event; called inside the store's lock."""
        self._noted.append((limit, scope, remaining))

    def tell(self) -> None:
        """Tell what was noted; called where no lock is held."""
        while self._noted:
            try:
                event = self._noted.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                self._listener(*event)
            except Exception:
                _log.exception("a listener to near limits failed; the decision stands")


class ThenTell:
    """A lock that its thread may enter again; who leaves it at last tells what was noted."""

    def __init__(self, events: NearEvents) -> None:
        self._lock, self._events = threading.RLock(), events
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        is_free = self._depth == 0
        self._lock.release()
        if is_free:
            self._events.tell()
