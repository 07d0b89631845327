"""What is held: lent between the tenants of a cohort, and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidegate.adapters.memory.cells import Table, Terms
from tidegate.adapters.memory.tables import Tables

if TYPE_CHECKING:
    from tidegate.adapters.memory.rows import Decided


def lend(decided: Decided, table: Table, terms: Terms, stored: int, units: int) -> bool:
    """Ask the cohort for what a tenant holds beyond the units it keeps to itself.

    Args:
        decided: What is known of the claim.
        table: The capacity.
        terms: The tenant's own numbers.
        stored: What the tenant would hold with this row.
        units: The row's units.

    Returns:
        False if the cohort has not that much to lend.
    """
    kept = terms.rule.kept
    passed = max(0, stored - kept) - max(0, stored - units - kept)
    found = decided.tables.policy.cohort_cell(table.limit, decided.claim.tenant)
    if not passed or found is None:
        return True
    cell, rule = found
    lent = table.young.get(cell.scope, 0)
    if lent + passed > rule.ceiling:
        decided.refuse(table, cell.scope, -1, max(0, rule.ceiling - lent))
        return False
    decided.writes.append((table.young, cell.scope, lent + passed))
    return True


def give_back(tables: Tables, rows: tuple[Any, ...]) -> None:
    """Give back what a lease holds: table, key and units of each row, flat."""
    for index in range(0, len(rows), 3):
        table: Table = rows[index]
        key: object = rows[index + 1]
        units: int = rows[index + 2]
        cells = table.young
        held = cells.get(key, 0)
        left = held - units
        if left > 0:
            cells[key] = left
        else:
            cells.pop(key, None)
        if table.varies:
            _return_to_cohort(tables, table, key, held, max(0, left))


def take_up(tables: Tables, table: Table, key: object, units: int, now_us: int) -> None:
    """Count units as held, whatever the ceiling is."""
    if table.varies:
        tables.terms(table, key, now_us)
    held = table.young.get(key, 0)
    table.young[key] = held + units
    if table.varies:
        _return_to_cohort(tables, table, key, held, held + units)


def _return_to_cohort(tables: Tables, table: Table, key: object, held: int, left: int) -> None:
    terms = table.varied.get(key, table.terms)
    kept = terms.rule.kept
    found = tables.policy.cohort_cell(table.limit, str(key)) if kept >= 0 else None
    if found is None:
        return
    scope = found[0].scope
    lent = table.young.get(scope, 0) - max(0, held - kept) + max(0, left - kept)
    if lent > 0:
        table.young[scope] = lent
    else:
        table.young.pop(scope, None)
