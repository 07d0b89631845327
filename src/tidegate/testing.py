"""Doubles for the tests of programs that use tidegate: time, machine and randomness by hand.

Each keeps the port of the same name, costs nothing to import, and never changes by itself.
"""

from __future__ import annotations

import base64
import hashlib

from tidegate.errors import InvalidRequest

START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: the start of a minute, an hour, a month and a year."""


class FakeClock:
    """`Clock` that stands still until it is told otherwise."""

    def __init__(self, now_us: int = START_US) -> None:
        self._now_us, self._elapsed_us = now_us, 0

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self._now_us

    def elapsed_us(self) -> int:
        """Microseconds that were let pass; jumps do not count."""
        return self._elapsed_us

    def set(self, now_us: int) -> None:
        """Jump to an instant, also back, as a machine's clock may."""
        self._now_us = now_us

    def advance(self, *, seconds: float = 0, us: int = 0) -> None:
        """Let time pass: seconds, rounded to a microsecond, and microseconds.

        Raises:
            InvalidRequest: time cannot pass backwards; `set` jumps.
        """
        passed_us = round(seconds * 1_000_000) + us
        if passed_us < 0:
            raise InvalidRequest("us", passed_us, ">= 0")
        self._now_us += passed_us
        self._elapsed_us += passed_us


class FakeHost:
    """`Host` that uses what it is told to use. None is a system that does not tell."""

    def __init__(self, memory_bytes: int | None = 0) -> None:
        self.memory_bytes = memory_bytes

    def tree_memory_bytes(self) -> int | None:
        """Memory of this process and all its descendants, as it was set."""
        return self.memory_bytes


class FakeSecrets:
    """`Secrets` that gives the same sequence each time; tokens of 16 bytes and more differ.

    Anybody can predict it: for tests only.
    """

    def __init__(self, seed: str = "tidegate") -> None:
        self._seed, self._given = seed, 0

    def token(self, length_bytes: int) -> str:
        """Return `length_bytes` bytes as URL-safe text without padding."""
        self._given += 1
        stream = hashlib.shake_256(f"{self._seed}:{self._given}".encode())
        return base64.urlsafe_b64encode(stream.digest(length_bytes)).rstrip(b"=").decode()
