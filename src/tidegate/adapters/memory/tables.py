"""The limits in force, bound to their cells: from a resource to its tables in one lookup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tidegate.adapters.memory.cells import (
    STOCK_TURN_US,
    TERMS_MAX,
    Table,
    Terms,
    picker,
    rescaled,
    scope_under,
)
from tidegate.domain.admission import window_of
from tidegate.domain.ask import check_units
from tidegate.domain.limit import Capacity
from tidegate.domain.policy import Policy
from tidegate.domain.rule import RATE, WINDOW

NEVER_US = 2**62


class Tables:
    """Every table by the resource its limit is on. Not locked: its owner is.

    `lone` are the resources with a single limit, if it is a rate per tenant, the same for all;
    most claims need no more. By name, `timed` are the limits in force that are taken from, and
    `rates` those of them that are rates and the same for all.

    Windows are computed for the wall clock and kept in the store's time, which never steps: the
    difference is asked for when a window turns, and at least once a minute.

    Args:
        skew_us: What to add to the store's time to have that of the wall.
        watches: Whether somebody wants to know when limits are near.
    """

    def __init__(self, skew_us: Callable[[], int], watches: bool) -> None:
        self.takes: dict[str, Table] = {}
        self.holds: dict[str, Table] = {}
        self.by_name: dict[str, Table] = {}
        self.lone: dict[str, Table] = {}
        self.timed: dict[str, Table] = {}
        self.rates: dict[str, Table] = {}
        self.policy: Policy = Policy(())
        self._skew_us: Callable[[], int] = skew_us
        self._watches: bool = watches

    def bind(self, policy: Policy, now_us: int) -> None:
        """Put other limits in force. What was spent and what is held stays, in units."""
        before, self.policy = self.policy, policy
        takes: dict[str, Table] = {}
        holds: dict[str, Table] = {}
        for limit in reversed(policy.limits):
            scope = ("",) * len(limit.per)
            terms = self._new_terms(limit.name, scope, now_us)
            table = self.by_name.get(limit.name)
            if table is None or table.limit.per != limit.per or table.kind != terms.rule.kind:
                table = self.by_name[limit.name] = Table(limit, terms, policy, now_us)
            elif table.limit is not limit or policy.cohort_of is not before.cohort_of:
                # Not those that `with_limit` left as they were: there may be many cells.
                self._change(table, terms, now_us)
            table.limit, table.policy = limit, policy
            table.pick = picker(limit, policy)
            table.varies = policy.varies(limit)
            table.turns_us = now_us if table.kind == WINDOW else table.turns_us
            side = holds if isinstance(limit, Capacity) else takes
            table.also = side.get(limit.resource)
            side[limit.resource] = table
        self.takes, self.holds = takes, holds
        self.timed = {
            limit.name: self.by_name[limit.name]
            for limit in policy.limits
            if not isinstance(limit, Capacity)
        }
        self.rates = {
            name: table
            for name, table in self.timed.items()
            if table.kind == RATE and not table.varies
        }
        self.lone = {
            resource: table
            for resource, table in takes.items()
            if table.also is None and table.by_tenant and table.name in self.rates
        }

    def terms(self, table: Table, key: object, now_us: int) -> Terms:
        """Return the numbers at a key of a table whose limit varies."""
        found = table.varied.get(key)
        if found is None:
            if len(table.varied) >= TERMS_MAX:
                # Cells of scopes with other numbers keep their ticks: forget only the same ones.
                table.varied = {k: t for k, t in table.varied.items() if t.unit != table.terms.unit}
            found = self._new_terms(table.name, scope_under(table, key), now_us)
            table.varied[key] = found
            table.forget_us = max(table.forget_us, found.rule.forget_us)
        return found

    def refuse(self, resource: str, side: str, units: Any) -> Table:
        """Raise InvalidClaim: naming the resources there are, or the amounts there may be."""
        limit = self.policy.named(resource, side)[0]
        table = self.by_name[limit.name]
        check_units(f"{side}.{resource}", units, table.terms.rule)
        return table

    def turn(self, now_us: int) -> int:
        """Turn every table that is due; return when the next one is."""
        soonest_us = NEVER_US
        for table in self.by_name.values():
            if table.turns_us <= now_us:
                if table.kind == WINDOW:
                    self._turn_window(table, now_us)
                else:
                    table.turn(now_us)
            soonest_us = min(soonest_us, table.turns_us)
        return soonest_us

    def _turn_window(self, table: Table, now_us: int) -> None:
        """Take over the calendar's next window; empty the cells unless it is still the same."""
        if table.name not in self.policy:
            table.turns_us = NEVER_US
            return
        terms = self._new_terms(table.name, ("",) * len(table.limit.per), now_us)
        if terms.rule.starts_us[0] > table.terms.rule.starts_us[0]:
            table.turn(now_us)
        table.terms = terms
        table.varied = {}
        table.turns_us = terms.rule.starts_us[1]

    def _new_terms(self, name: str, scope: tuple[str, ...], now_us: int) -> Terms:
        skew_us = self._skew_us()
        rule = self.policy.rule(name, scope, now_us + skew_us)
        if rule.kind == WINDOW:
            start_us, end_us = window_of(rule, now_us + skew_us)
            here = (start_us - skew_us, end_us - skew_us, 2 * end_us - start_us - skew_us)
            rule = replace(rule, starts_us=here)
        return Terms(rule, self._watches)

    def _change(self, table: Table, terms: Terms, now_us: int) -> None:
        """Count what was spent in the ticks of the new numbers."""
        varied = table.varied
        table.varied = {}
        if table.kind == RATE:
            table.indebted = True
            for cells, since_us in (
                (table.young, table.since_us),
                (table.old, table.old_since_us),
            ):
                for key, stored in cells.items():
                    old = varied.get(key, table.terms)
                    new = terms
                    if self.policy.varies(table.limit):
                        scope = scope_under(table, key)
                        new = self._new_terms(table.name, scope, now_us)
                        table.varied[key] = new
                    if (old.unit, old.drain) != (new.unit, new.drain):
                        cells[key] = rescaled(stored, old, new, now_us - since_us)
        table.terms = terms
        table.forget_us = terms.rule.forget_us or STOCK_TURN_US
