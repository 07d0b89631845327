"""The limits in force, resolved: from a claim to the cells it touches.

A policy is one frozen snapshot. To change limits, build another and swap it; what is held stays
held, and a level above a lowered ceiling only keeps newcomers out until it has come down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from tidegate.domain.admission import STOCK, Row, Rule, rule_of
from tidegate.domain.claim import Claim
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import SCOPE_FIELDS, Capacity, Limit, Quota, RateLimit
from tidegate.domain.rate import TICKS_MAX
from tidegate.errors import InvalidClaim, InvalidLimit

ID_LENGTH_MAX = 200


class Cell(msgspec.Struct, frozen=True, gc=False):
    """The address of one level: a limit, and the claim's values of what the limit is `per`."""

    limit: str
    scope: tuple[str, ...]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as a store takes it: its cells and, in the same order, the rows to decide on."""

    claim: Claim
    cells: tuple[Cell, ...]
    rows: tuple[tuple[Rule, int], ...]
    lease_us: int
    holder: str = ""

    def fresh_rows(self) -> list[Row]:
        """Return rows for `decide`, levels still empty."""
        return [Row(rule, cost) for rule, cost in self.rows]

    @property
    def holds(self) -> list[tuple[Cell, int]]:
        """The cells that a lease gives back, with the units held there."""
        return [
            (cell, cost)
            for cell, (rule, cost) in zip(self.cells, self.rows, strict=True)
            if rule.kind == STOCK
        ]


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """Other numbers for one tenant. `units` and, for rates, `burst` replace those of the limit.

    `units` None lifts the limit for the tenant. It still counts, so that it is right at once when
    it is put in force again.
    """

    units: int | None
    burst: int | None = None


class Policy:
    """Limits by resource, with overrides by tenant and limit name."""

    def __init__(
        self,
        limits: Iterable[Limit],
        *,
        overrides: Mapping[str, Mapping[str, Override]] | None = None,
    ) -> None:
        self.limits: tuple[Limit, ...] = tuple(limits)
        self.overrides = dict(overrides or {})
        self._by_resource: dict[str, list[Limit]] = {}
        self._rules: dict[tuple[str, str], Rule] = {}
        self._by_name: dict[str, Limit] = {}
        for limit in self.limits:
            if limit.name in self._by_name:
                raise InvalidLimit("name", limit.name, "a name that no other limit has")
            self._by_name[limit.name] = limit
            others = self._by_resource.setdefault(limit.resource, [])
            if others and isinstance(others[0], Capacity) != isinstance(limit, Capacity):
                raise InvalidLimit("resource", limit.resource, "either taken or held, not both")
            others.append(limit)

    def limit(self, name: str, tenant: str) -> Limit:
        """Return a limit by name with the tenant's override put in. The name must exist."""
        limit = self._by_name[name]
        override = self.overrides.get(tenant, {}).get(name)
        if override is None:
            return limit
        if override.units is None:
            return replace(limit, units=TICKS_MAX - 1)
        if isinstance(limit, RateLimit):
            return replace(limit, units=override.units, burst=override.burst)
        return replace(limit, units=override.units)

    def ask(self, claim: Claim, *, lease_us: int, now_us: int, holder: str = "") -> Ask:
        """Resolve a claim.

        Raises:
            InvalidClaim: an unknown resource, an amount that is no positive integer or above what
                the limit can ever grant, a scope the claim says nothing about, a bad id.
        """
        cells: list[Cell] = []
        rows: list[tuple[Rule, int]] = []
        for field, amounts, held in (("take", claim.take, False), ("hold", claim.hold, True)):
            for resource, units in amounts.items():
                for limit in self._limits_on(resource, field, held):
                    rule = self.rule(limit, claim.tenant, now_us)
                    if type(units) is not int or not 1 <= units <= rule.units_max:
                        raise InvalidClaim(f"{field}.{resource}", units, f"1..{rule.units_max}")
                    cells.append(Cell(limit.name, scope_of(limit, claim)))
                    rows.append((rule, units))
        if claim.id is not None and not 1 <= len(claim.id) <= ID_LENGTH_MAX:
            raise InvalidClaim("id", claim.id, f"1..{ID_LENGTH_MAX} characters")
        return Ask(
            claim=claim, cells=tuple(cells), rows=tuple(rows), lease_us=lease_us, holder=holder
        )

    def holding(self, record: LeaseRecord, now_us: int) -> Ask:
        """Resolve what a lease holds already, also what today's limits would no longer grant.

        Raises:
            InvalidClaim: a resource there is no limit on any more, or a scope it says nothing of.
        """
        held = [
            (Cell(limit.name, scope_of(limit, record.claim)), limit, units)
            for resource, units in record.claim.hold.items()
            for limit in self._limits_on(resource, "hold", True)
        ]
        return Ask(
            claim=record.claim,
            cells=tuple(cell for cell, _, _ in held),
            rows=tuple((self.rule(limit, record.claim.tenant, now_us), n) for _, limit, n in held),
            lease_us=0,
            holder=record.holder,
        )

    def overview(self, claim: Claim, now_us: int) -> Ask:
        """Resolve one unit of every limit that the claim's attributes can say the scope of.

        For looking at limits, not for admission: what the claim takes or holds plays no part.
        """
        cells: list[Cell] = []
        rows: list[tuple[Rule, int]] = []
        for limit in self.limits:
            if self._lifted(limit, claim.tenant):
                continue
            try:
                cells.append(Cell(limit.name, scope_of(limit, claim)))
            except InvalidClaim:
                continue
            rows.append((self.rule(limit, claim.tenant, now_us), 1))
        return Ask(claim=claim, cells=tuple(cells), rows=tuple(rows), lease_us=0)

    def one(self, name: str, claim: Claim, units: int, now_us: int) -> Ask:
        """Resolve `units` of the one limit of this name, whether or not it could grant them."""
        limit = self._by_name[name]
        return Ask(
            claim=claim,
            cells=(Cell(name, scope_of(limit, claim)),),
            rows=((self.rule(limit, claim.tenant, now_us), units),),
            lease_us=0,
        )

    def rule(self, limit: Limit, tenant: str, now_us: int) -> Rule:
        """Return the numbers in force for the tenant, with windows that reach past `now_us`."""
        overridden = tenant in self.overrides and limit.name in self.overrides[tenant]
        key = (limit.name, tenant if overridden else "")
        rule = self._rules.get(key)
        if rule is None or rule.is_stale(now_us):
            rule = rule_of(self.limit(limit.name, tenant) if overridden else limit, now_us)
            self._rules[key] = rule
        return rule

    def _lifted(self, limit: Limit, tenant: str) -> bool:
        override = self.overrides.get(tenant, {}).get(limit.name)
        return override is not None and override.units is None

    def _limits_on(self, resource: str, field: str, held: bool) -> list[Limit]:
        limits = self._by_resource.get(resource)
        if limits is None or isinstance(limits[0], Capacity) != held:
            known = sorted(
                name
                for name, others in self._by_resource.items()
                if isinstance(others[0], Capacity) == held
            )
            raise InvalidClaim(f"{field}.{resource}", resource, " | ".join(known) or "nothing")
        return limits


def scope_of(limit: Limit, claim: Claim) -> tuple[str, ...]:
    """Return the claim's values of what the limit is `per`.

    Raises:
        InvalidClaim: the claim does not say; naming the field that is missing.
    """
    values = []
    for field in limit.per:
        known = field in SCOPE_FIELDS
        value = getattr(claim, field) if known else claim.attributes.get(field)
        if not isinstance(value, str) or not value:
            where = field if known else f"attributes.{field}"
            raise InvalidClaim(where, value, f"a text: {limit.name} is per {field}")
        values.append(value)
    return tuple(values)


def taken_quotas(policy: Policy, claim: Claim) -> dict[str, int]:
    """Return the quota resources a claim takes, for the ledger that rebuilds them."""
    quotas = {limit.resource for limit in policy.limits if isinstance(limit, Quota)}
    return {name: units for name, units in claim.take.items() if name in quotas}
