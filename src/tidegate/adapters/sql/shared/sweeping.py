"""Rows that mean nothing any more, removed in small portions by whoever passes.

A window goes round over each table in the order of its keys: an index of expiries would have to be
written with every level. It goes faster than rows are made, so what is left over stays bounded.
"""

from __future__ import annotations

import time

EVERY_S = 1.0
ROWS_MIN = 32
ROWS_MAX = 1_024
NEW_MAX = 100
"""New rows after which it does not wait for the time."""


class Sweep:
    """When to sweep next, over how many rows, and where to go on."""

    def __init__(self) -> None:
        self._new = 0
        self._due_s = 0.0
        self._after: dict[str, bytes] = {}

    def rows(self, new: int) -> int:
        """Return how many rows of each table to look at now, often 0, after `new` were made."""
        self._new += new
        if self._new < NEW_MAX and time.monotonic() < self._due_s:
            return 0
        rows = min(ROWS_MIN + 2 * self._new, ROWS_MAX)
        self._new, self._due_s = 0, time.monotonic() + EVERY_S
        return rows

    def after(self, table: str) -> bytes:
        """Return the key after which to go on."""
        return self._after.get(table, b"")

    def went(self, table: str, last: bytes) -> None:
        """Note how far it went; empty: to the end."""
        self._after[table] = last
