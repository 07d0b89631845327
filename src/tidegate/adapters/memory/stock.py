"""What is held: lent between the tenants of a cohort, and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidegate.adapters.memory.cells import Table, Terms
from tidegate.domain.rows import COHORT

if TYPE_CHECKING:
    from tidegate.adapters.memory.rows import Decided


def lend(  # noqa: PLR0917
    decided: Decided, table: Table, terms: Terms, key: object, stored: int, units: int
) -> bool:
    """Ask the cohort for what a member holds beyond the units it keeps to itself.

    Args:
        decided: What is known of the claim.
        table: The capacity.
        terms: The member's own numbers.
        key: The member's cell.
        stored: What the member would hold with this row.
        units: The row's units.

    Returns:
        False if the cohort has not that much to lend.
    """
    kept = terms.rule.kept
    passed = max(0, stored - kept) - max(0, stored - units - kept)
    own = str(key)
    found = decided.tables.policy.cohort(table.limit, own)
    if not passed or found is None:
        return True
    name, rule, kept_by = found
    lent = max(0, stored - units - kept)
    for member, units_kept in kept_by.items():
        if member != own:
            lent += max(0, table.young.get(member, 0) - units_kept)
    if lent + passed > rule.ceiling:
        decided.refuse(table, (COHORT, name), -1, max(0, rule.ceiling - lent))
        return False
    return True


def give_back(rows: tuple[Any, ...]) -> None:
    """Give back what a lease holds: table, key and units of each row, flat."""
    for index in range(0, len(rows), 3):
        table: Table = rows[index]
        key: object = rows[index + 1]
        units: int = rows[index + 2]
        cells = table.young
        left = cells.get(key, 0) - units
        if left > 0:
            cells[key] = left
        else:
            cells.pop(key, None)
