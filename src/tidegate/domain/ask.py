"""A claim as a store takes it: the cells it touches, and the numbers it is decided by."""

from __future__ import annotations

import msgspec

from tidegate.domain.admission import Row
from tidegate.domain.claim import Claim
from tidegate.domain.limit import (
    COHORT_FIELD,
    DEFAULT_PARTITION,
    SCOPE_FIELDS,
    Capacity,
    Limit,
)
from tidegate.domain.rule import STOCK, Rule
from tidegate.errors import InvalidClaim

SCOPE_LENGTH_MAX = 1_000
"""Of one part of a scope. Hosts have up to 253 characters; cells keep what tenants send."""


class Cell(msgspec.Struct, frozen=True, gc=False):
    """The address of one level: a limit, and the claim's values of what the limit is `per`.

    The cell of a cohort is that of the limit with `cohort:` and its name as scope.
    """

    limit: str
    scope: tuple[str, ...]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as a store takes it: its cells and, in the same order, the rows to decide on.

    A row is rule, units, and the index of the row that passes on to it, or -1; see `Row`. To such
    a row belong the cells of the cohort's other members, with the units each keeps to itself.
    `names` are those of the cells in a shared store, where they are known.
    """

    claim: Claim
    cells: tuple[Cell, ...]
    rows: tuple[tuple[Rule, int, int], ...]
    lease_us: int
    holder: str = ""
    siblings: dict[int, tuple[tuple[Cell, int], ...]] = {}
    names: tuple[str, ...] = ()

    def fresh_rows(self) -> list[Row]:
        """Return rows for `decide`, levels still empty."""
        return [Row(rule, cost, via=via) for rule, cost, via in self.rows]

    @property
    def held(self) -> list[int]:
        """Which rows a lease gives back."""
        return [index for index, row in enumerate(self.rows) if row[0].kind == STOCK]


def check_units(field: str, units: int, rule: Rule) -> None:
    """Refuse an amount that is no positive integer, or that no wait is long enough for."""
    if type(units) is not int or not 1 <= units <= rule.units_max:
        raise InvalidClaim(field, units, f"1..{rule.units_max}")


def scope_of(limit: Limit, claim: Claim, cohort: str) -> tuple[str, ...]:
    """Return the claim's values of what the limit is `per`; see `Policy.scope_of`.

    Args:
        limit: The limit.
        claim: Who asks.
        cohort: That of its tenant.

    Raises:
        InvalidClaim: the claim does not say; naming the field that is missing.
    """
    if isinstance(limit, Capacity) and limit.partitions:
        field = limit.per[0]
        said = _said(field, claim, cohort)
        return (said if isinstance(said, str) and said in limit.partitions else DEFAULT_PARTITION,)
    values = []
    for field in limit.per:
        value = _said(field, claim, cohort)
        if not isinstance(value, str) or not 0 < len(value) <= SCOPE_LENGTH_MAX:
            where = field if field in SCOPE_FIELDS else f"attributes.{field}"
            said = value[:20] + "..." if isinstance(value, str) and value else value
            allowed = f"1..{SCOPE_LENGTH_MAX} characters: {limit.name} is per {field}"
            raise InvalidClaim(where, said, allowed)
        values.append(value)
    return tuple(values)


def _said(field: str, claim: Claim, cohort: str) -> object:
    if field in SCOPE_FIELDS:
        return getattr(claim, field)
    return cohort if field == COHORT_FIELD else claim.attributes.get(field)
