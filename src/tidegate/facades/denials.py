"""A store's answers in the words that callers read."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.admission import RATE, STOCK, window
from tidegate.domain.decision import Denied, LimitState, Reason
from tidegate.domain.policy import Ask, Policy
from tidegate.ports.admission_store import Refusal


def denied_by(policy: Policy, ask: Ask, refusal: Refusal, reason: Reason | None = None) -> Denied:
    """Say which limit refused, at which scope, and why; `reason` replaces the limit's own."""
    cell, (rule, _) = ask.cells[refusal.row], ask.rows[refusal.row]
    if reason is None:
        limit = policy.limit(cell.limit, ask.claim.tenant)
        shared = rule.kind == STOCK and "tenant" not in limit.per
        timed: Reason = "rate_limited" if rule.kind == RATE else "quota_exceeded"
        reason = "exhausted" if shared else timed
    return Denied(
        reason=reason,
        limit=cell.limit,
        scope=cell.scope,
        remaining=refusal.remaining,
        retry_after_us=refusal.wait_us,
    )


def states_of(policy: Policy, ask: Ask, seen: Sequence[tuple[int, int | None]]) -> list[LimitState]:
    """Say how each of the ask's limits stands, from what the store saw of them."""
    return [
        LimitState(
            name=cell.limit,
            resource=policy.limit(cell.limit, ask.claim.tenant).resource,
            scope=cell.scope,
            units=rule.units_max,
            remaining=remaining,
            reset_us=reset_us,
            window_us=window(rule),
        )
        for cell, (rule, _), (remaining, reset_us) in zip(ask.cells, ask.rows, seen, strict=True)
    ]
