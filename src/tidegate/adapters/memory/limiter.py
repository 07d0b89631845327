"""One limit of the store in memory, asked directly: no claim, no lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tidegate.adapters.memory.cells import Table

if TYPE_CHECKING:
    from tidegate.adapters.memory.rates import MemoryRates


class MemoryLimiter:
    """`Limiter` of this process. `table` is that of its limit, where that is the same for all."""

    __slots__ = ("_enter", "_epoch_us", "_leave", "_now_ns", "_store", "name", "table")

    def __init__(
        self, name: str, store: MemoryRates, now_ns: Callable[[], int], epoch_us: int
    ) -> None:
        self.name: str = name
        self.table: Table | None = store.tables.rates.get(name)
        self._store: MemoryRates = store
        self._enter: Callable[[], None] = store.lock.enter
        self._leave: Callable[[None], None] = store.lock.leave
        self._now_ns: Callable[[], int] = now_ns
        self._epoch_us: int = epoch_us

    def take(self, key: str | tuple[str, ...] = "", units: int = 1) -> int:
        """See `Limiter.take`."""
        store, cell = self._store, key
        now = self._now_ns() // 1000 + self._epoch_us
        self._enter()
        try:
            if now < store.seen_us:
                now = store.seen_us
            else:
                store.seen_us = now
            if now >= store.look_us:
                store.look(now)
            table = self.table
            if table is not None and (units == 1 or (type(units) is int and units > 0)):
                cells: Any = table.young
                stored: int = cells.get(cell, -1)
                if stored >= 0:
                    terms = table.terms
                    base = (now - table.since_us) * terms.drain
                    if stored < base:
                        stored = base
                    stored += terms.unit if units == 1 else units * terms.unit
                    if stored - base <= terms.watch:
                        cells[cell] = stored
                        return 0
                    denied = store.too_much(table, cell, stored - base, units)
                    if denied is not None:
                        return denied.retry_after_us or 0
            return store.take(self.name, key, units, now)
        finally:
            self._leave(None)
