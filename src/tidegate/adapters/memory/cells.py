"""Levels of one limit by scope, in two generations so that idle ones vanish without a scan."""

from __future__ import annotations

OVERFLOW = ("*overflow*",)
"""The scope that newcomers share once a limit tracks as many keys as it may."""


class CellTable:
    """The levels of one limit, each with its instant and the ticks it is counted in.

    The younger generation holds what was written since the last turn. A turn drops the older one.
    Turns are at least `forget_us` apart, so a dropped cell had been untouched for that long and
    equals an empty one. Capacities (`forget_us` 0) never turn; their cells go when they are empty.
    """

    __slots__ = ("_forget_us", "_keys_max", "_old", "_turned_us", "_young")

    def __init__(self, *, keys_max: int) -> None:
        self._young: dict[tuple[str, ...], tuple[int, int, int]] = {}
        self._old: dict[tuple[str, ...], tuple[int, int, int]] = {}
        self._forget_us = 0
        self._turned_us = 0
        self._keys_max = keys_max

    def address(self, scope: tuple[str, ...], forget_us: int, now_us: int) -> tuple[str, ...]:
        """Return the scope to read and write: itself, or the shared one when the table is full."""
        self._forget_us = max(self._forget_us, forget_us)
        if self._forget_us and now_us - self._turned_us >= self._forget_us:
            self._old, self._young, self._turned_us = self._young, {}, now_us
        if scope in self._young or scope in self._old:
            return scope
        if len(self._young) + len(self._old) >= self._keys_max:
            return OVERFLOW
        return scope

    def read(self, scope: tuple[str, ...], unit: int) -> tuple[int, int]:
        """Return level and instant under the scope, empty if it is not there.

        A rate that was changed counts in other ticks; what was spent stays the same in units.
        """
        found = self._young.get(scope) or self._old.get(scope)
        if found is None:
            return 0, 0
        level, at_us, counted_in = found
        return level if counted_in == unit else -(-level * unit // counted_in), at_us

    def write(self, scope: tuple[str, ...], level: int, at_us: int, unit: int) -> None:
        """Keep them, a unit being `unit` ticks; an empty capacity is forgotten at once."""
        if level or self._forget_us:
            self._young[scope] = (level, at_us, unit)
        else:
            self._young.pop(scope, None)
