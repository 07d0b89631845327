"""What is held: lent between the tenants of a cohort, and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.adapters.memory.cells import Table, Terms
from tidegate.adapters.memory.records import Held
from tidegate.domain.rows import COHORT

if TYPE_CHECKING:
    from tidegate.adapters.memory.rows import Draft


def lend(  # noqa: PLR0917
    draft: Draft, table: Table, terms: Terms, key: object, stored: int, units: int
) -> bool:
    """Ask the cohort for what a member holds beyond the units it keeps to itself.

    Args:
        draft: What is known of the claim.
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
    cohort = table.policy.cohort(table.limit, own)
    if not passed or cohort is None:
        return True
    name, rule, kept_by = cohort
    lent = max(0, stored - units - kept)
    for member, units_kept in kept_by.items():
        if member != own:
            lent += max(0, table.young.get(member, 0) - units_kept)
    if lent + passed > rule.ceiling:
        draft.refuse(table, (COHORT, name), -1, max(0, rule.ceiling - lent))
        return False
    return True


def give_back(held: Held | None) -> None:
    """Give back what a lease holds."""
    while held is not None:
        cells = held.table.young
        left = cells.get(held.key, 0) - held.units
        cells[held.key] = left if left > 0 else 0
        held = held.more
