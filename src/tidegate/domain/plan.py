"""Plans: what a tenant may use, and what it pays. Plans are data; settings may replace them.

Money is integer micro-units of a US dollar. Weights are to each other about as the requests per
second are, a little flatter: those who pay little still get their turn among those who pay much.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from tidegate.domain.rate import TICKS_MAX, Rate
from tidegate.errors import InvalidLimit

MIB = 2**20
GIB = 2**30
USD = 1_000_000

QUOTA_MAX = TICKS_MAX - 1
"""Largest amount a quota may be set to: what a limit can count, exact in every store and JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """The amounts of one tenant. 0 in `operations_per_month` means: no monthly ceiling."""

    requests_per_second: int
    requests_burst: int
    operations_per_minute: int
    operations_per_month: int
    cache_bytes: int
    storage_bytes: int
    sessions: int

    def __post_init__(self) -> None:
        """Refuse amounts that no limit can hold."""
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "operations_per_month" else 1
            if type(value) is not int or not least <= value <= QUOTA_MAX:
                raise InvalidLimit(f"quotas.{field.name}", value, f"{least}..{QUOTA_MAX}")
        burst = self.requests_burst
        try:
            Rate(units=self.requests_per_second, period_us=1_000_000, burst=burst)
        except InvalidLimit as error:
            raise InvalidLimit("quotas.requests_burst", burst, error.allowed) from None

    def override(self, changes: dict[str, int]) -> Quotas:
        """Return these quotas with `changes` (a map of field name to amount) put in.

        Raises:
            InvalidLimit: a name that is no quota, or an amount out of range.
        """
        names = [field.name for field in fields(self)]
        for name, value in changes.items():
            if name not in names:
                raise InvalidLimit(f"quotas.{name}", value, " | ".join(names))
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A named set of quotas, its price, and the caps on what its tenants may ask for.

    `overage_micros` is the price of 1,000 operations above `operations_included`, or None where
    more are refused; then `quotas.operations_per_month` is the ceiling. Of what tenants wait for,
    each gets a part in proportion to its `weight`.
    """

    name: str
    quotas: Quotas
    price_month_micros: int
    operations_included: int
    overage_micros: int | None
    priority_max: int = 500
    lease_max_s: int = 300
    leases_max: int = 1_000
    weight: int = 1


def _plan(name: str, requests: tuple[int, int], per_minute: int, month: int, **sizes: int) -> Plan:
    """Build one row of the table below; `month` are the included operations."""
    overage = sizes.pop("overage_micros", None)
    price = sizes.pop("price_month_micros")
    weight = sizes.pop("weight")
    quotas = Quotas(
        requests_per_second=requests[0],
        requests_burst=requests[1],
        operations_per_minute=per_minute,
        operations_per_month=0 if overage else month,
        **sizes,
    )
    return Plan(
        name=name,
        quotas=quotas,
        price_month_micros=price,
        operations_included=month,
        overage_micros=overage,
        weight=weight,
    )


DEFAULT_PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        _plan(
            "free",
            (20, 40),
            1_000,
            10_000,
            cache_bytes=100 * MIB,
            storage_bytes=GIB,
            sessions=100,
            weight=1,
            price_month_micros=0,
        ),
        _plan(
            "basic",
            (50, 100),
            3_000,
            250_000,
            cache_bytes=500 * MIB,
            storage_bytes=10 * GIB,
            sessions=500,
            weight=2,
            price_month_micros=29 * USD,
            overage_micros=400_000,
        ),
        _plan(
            "professional",
            (200, 400),
            12_000,
            5_000_000,
            cache_bytes=2 * GIB,
            storage_bytes=100 * GIB,
            sessions=5_000,
            weight=8,
            price_month_micros=199 * USD,
            overage_micros=200_000,
        ),
        _plan(
            "enterprise",
            (1_000, 2_000),
            60_000,
            50_000_000,
            cache_bytes=16 * GIB,
            storage_bytes=1024 * GIB,
            sessions=50_000,
            weight=40,
            price_month_micros=999 * USD,
            overage_micros=100_000,
        ),
    )
}
PLAN_ALIASES = {"pro": "professional"}
