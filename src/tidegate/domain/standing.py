"""What an operator set, before the numbers of single tenants are put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.domain.limit import Limit
from tidegate.domain.overrides import Override, Pattern
from tidegate.domain.plan import Quotas
from tidegate.domain.policy import Policy

OF_PLANS = ("requests", "operations", "operations_month", "sessions")
"""The limits whose numbers plans and the quotas of tenants give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one tenant may use, and its weight among those who wait."""

    quotas: Quotas
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingLimits:
    """Limits, other numbers for some, who lends to whom, and weights; see `Policy`."""

    limits: tuple[Limit, ...]
    overrides: Mapping[Pattern, Mapping[str, Override]] = field(default_factory=dict)
    cohorts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)

    def policy(self, tenants: Mapping[str, Allowance] | None = None) -> Policy:
        """Return the policy with these tenants in it.

        An override or a weight that the operator set for a tenant wins over what its plan says.

        Raises:
            InvalidLimit: naming the field.
        """
        overrides = {key: dict(numbers) for key, numbers in self.overrides.items()}
        weights = {}
        for tenant, allowance in (tenants or {}).items():
            own = overrides.get(tenant, {})
            overrides[tenant] = {**quota_overrides(allowance.quotas), **own}
            if allowance.weight > 1:
                weights[tenant] = allowance.weight
        return Policy(
            self.limits,
            overrides=overrides,
            cohorts=self.cohorts,
            weights={**weights, **self.weights},
        )


def quota_overrides(quotas: Quotas) -> dict[str, Override]:
    """Return the quotas of a tenant as numbers of the limits that plans give."""
    return {
        "requests": Override(units=quotas.requests_per_second, burst=quotas.requests_burst),
        "operations": Override(units=quotas.operations_per_minute),
        "operations_month": Override(units=quotas.operations_per_month or None),
        "sessions": Override(units=quotas.sessions),
    }
