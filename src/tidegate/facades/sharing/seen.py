"""Levels that were looked at, as limits stand and as claims would be decided."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.domain.admission import Row, aged, decide, remaining, reset
from tidegate.domain.ask import Ask
from tidegate.domain.batch import Levels, No, levels_of
from tidegate.domain.decision import Denied, LimitState
from tidegate.domain.policy import Policy
from tidegate.facades.sharing.wording import denied_by


@dataclass(frozen=True, slots=True)
class Seen:
    """Levels that were looked at, for the ask they belong to, at the store's time."""

    ask: Ask
    levels: Levels
    now_us: int

    def rows(self) -> list[Row]:
        """Return the ask's rows with their levels."""
        rows, levels = self.ask.fresh_rows(), levels_of(self.levels)
        for row, level in zip(rows, levels, strict=False):
            row.level = level
        index = len(rows)
        for at, siblings in self.ask.siblings.items():
            found = levels[index : index + len(siblings)]
            index += len(siblings)
            kept = (units for _, units in siblings)
            rows[at].siblings = list(zip(found, kept, strict=True))
        return rows

    def states(self, policy: Policy) -> tuple[LimitState, ...]:
        """Return how each limit stands."""
        states = []
        for cell, row in zip(self.ask.cells, self.rows(), strict=True):
            if row.via >= 0:
                continue
            level = aged(row.rule, row.level, self.now_us)
            states.append(
                LimitState(
                    name=cell.limit,
                    resource=policy.limit(cell.limit, cell.scope).resource,
                    scope=cell.scope,
                    units=row.rule.units_max,
                    remaining=remaining(row.rule, level, self.now_us),
                    reset_us=reset(row.rule, level, self.now_us),
                    window_us=row.rule.window_us,
                    shadow=row.rule.shadow,
                )
            )
        return tuple(states)

    def denial(self, policy: Policy) -> Denied | None:
        """Return how the claim would be refused; None: it would be granted."""
        verdict = decide(self.rows(), self.now_us)
        if verdict.levels is not None:
            return None
        wait_us = -1 if verdict.wait_us is None else verdict.wait_us
        return denied_by(policy, self.ask, No(verdict.refused, verdict.remaining, wait_us))
