"""What a claim touches, gathered limit by limit: its cells and, beside them, the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.domain.ask import Ask, Cell, check_units
from tidegate.domain.claim import Claim
from tidegate.domain.limit import Limit
from tidegate.domain.rule import Rule

if TYPE_CHECKING:
    from tidegate.domain.policy import Policy

COHORT = "cohort:"
"""First part of the scope at which a cohort refuses; no tenant has such an id."""
TENANT = ("tenant",)


class Rows:
    """Cells and rows of one claim, as they are found."""

    def __init__(self, policy: Policy, claim: Claim, now_us: int) -> None:
        self._policy, self._claim, self._now_us = policy, claim, now_us
        self._cells: list[Cell] = []
        self._rows: list[tuple[Rule, int, int]] = []
        self._siblings: dict[int, tuple[tuple[Cell, int], ...]] = {}

    def add(self, limit: Limit, units: int, field: str | None) -> None:
        """Add a limit, and the cohort behind it. With a `field` the units are checked."""
        tenant = self._claim.tenant
        if limit.per == TENANT and tenant and type(tenant) is str:
            scope: tuple[str, ...] = (tenant,)
        else:
            scope = self._policy.scope_of(limit, self._claim)
        rule = self._policy.fixed.get(limit.name)
        if rule is None:
            rule = self._policy.rule(limit.name, scope, self._now_us)
        if field is not None and (
            type(units) is not int or units < 1 or units * rule.unit > rule.ceiling
        ):
            check_units(f"{field}.{limit.resource}", units, rule)
        self._cells.append(Cell(limit.name, scope))
        self._rows.append((rule, units, -1))
        if rule.kept >= 0:
            found = self._policy.cohort(limit, scope[0])
            if found is not None:
                name, lent, kept = found
                self._siblings[len(self._rows)] = tuple(
                    (Cell(limit.name, (member,)), units)
                    for member, units in kept.items()
                    if member != scope[0]
                )
                self._cells.append(Cell(limit.name, (COHORT, name)))
                self._rows.append((lent, 0, len(self._rows) - 1))

    def ask(self, lease_us: int, holder: str) -> Ask:
        """Return what was gathered."""
        return Ask(
            claim=self._claim,
            cells=tuple(self._cells),
            rows=tuple(self._rows),
            lease_us=lease_us,
            holder=holder,
            siblings=self._siblings,
        )
