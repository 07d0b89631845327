"""The limits in force, resolved: from a claim to the cells it touches.

A policy is one frozen snapshot. To change limits, build another and swap it; what is held stays
held, and a level above a lowered ceiling only keeps newcomers out until it has come down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace

from tidegate.domain import rows
from tidegate.domain.ask import Ask, scope_of
from tidegate.domain.claim import PRIORITY_MAX, Claim
from tidegate.domain.cohorts import DEFAULT_COHORT, cohort_by_member
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import COHORT_FIELD, DEFAULT_PARTITION, Capacity, Limit, Quota
from tidegate.domain.overrides import Override, Overrides, Pattern
from tidegate.domain.rule import Rule, cohort_rule, rule_of
from tidegate.errors import InvalidClaim, InvalidLimit

ID_LENGTH_MAX = 200
UNITS_MAX = 2**53
"""Scripts of stores count in numbers that are exact up to here."""
WEIGHT_MAX = 1_000_000
NEVER_US = 2**53
RULES_MAX = 100_000
"""Rules that are remembered by scope, where overrides make them differ."""


class Policy:
    """Limits by resource, with overrides by scope, and who lends to whom.

    Args:
        limits: At most one of a name.
        overrides: By tenant or scope, which may be patterns, and by the name of the limit.
        cohorts: Members by the name of the cohort in which they lend and borrow: tenants, or other
            values of what a capacity is `per`. Limits that are per cohort count tenants together.
        weights: Of tenants that wait, those that count for more than 1.

    Raises:
        InvalidLimit: naming the field.
    """

    def __init__(
        self,
        limits: Iterable[Limit],
        *,
        overrides: Mapping[Pattern, Mapping[str, Override]] | None = None,
        cohorts: Mapping[str, Iterable[str]] | None = None,
        weights: Mapping[str, int] | None = None,
    ) -> None:
        self.limits: tuple[Limit, ...] = tuple(limits)
        self.given_overrides = dict(overrides or {})
        self._overrides = Overrides(self.given_overrides)
        self._by_resource: dict[str, list[Limit]] = {}
        self._by_name: dict[str, Limit] = {}
        self._rules: dict[tuple[str, tuple[str, ...] | None], Rule] = {}
        for limit in self.limits:
            if limit.name in self._by_name:
                raise InvalidLimit("name", limit.name, "a name that no other limit has")
            self._by_name[limit.name] = limit
            others = self._by_resource.setdefault(limit.resource, [])
            if others and isinstance(others[0], Capacity) != isinstance(limit, Capacity):
                raise InvalidLimit("resource", limit.resource, "either taken or held, not both")
            others.append(limit)
        self._overrides.check(self._by_name)
        # What neither varies nor turns is looked up at once.
        self.fixed: dict[str, Rule] = {
            limit.name: rule_of(limit, 0)
            for limit in self.limits
            if not self.varies(limit) and not isinstance(limit, Quota)
        }
        self._cohorts = {name: tuple(tenants) for name, tenants in (cohorts or {}).items()}
        self.cohort_of = cohort_by_member(self._cohorts)
        self.weights = dict(weights or {})
        for tenant, weight in self.weights.items():
            if type(weight) is not int or not 1 <= weight <= WEIGHT_MAX:
                raise InvalidLimit(f"weights.{tenant}", weight, f"1..{WEIGHT_MAX}")

    def with_limit(self, limit: Limit) -> Policy:
        """Return the same policy with another limit in the place of the one of its name. Quick.

        Raises:
            InvalidLimit: there is none to take the place of, or an override does not fit it.
        """
        old = self._by_name.get(limit.name)
        if old is None or old.resource != limit.resource or type(old) is not type(limit):
            raise InvalidLimit("name", limit.name, "that of a limit of its kind on its resource")
        other = copy(self)
        other.limits = tuple(limit if each is old else each for each in self.limits)
        other._by_name = {**self._by_name, limit.name: limit}
        beside = [limit if each is old else each for each in self.limits_on(limit.resource)]
        other._by_resource = {**self._by_resource, limit.resource: beside}
        other._rules = {}
        if limit.name in self.fixed:
            other.fixed = {**self.fixed, limit.name: rule_of(limit, 0)}
        if self._overrides.concerns(limit):
            self._overrides.check(other._by_name)
        return other

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def limit(self, name: str, scope: tuple[str, ...]) -> Limit:
        """Return a limit by name as it is at a scope. The name must exist."""
        limit = self._by_name[name]
        override = self._overrides.find(limit, scope) if self._overrides else None
        if override is not None:
            limit = override.put_into(limit)
        if isinstance(limit, Capacity) and limit.is_shared and scope[0] not in self.cohort_of:
            return replace(limit, lend=0, borrow=0)
        return limit

    def limit_named(self, name: str) -> Limit:
        """Return a limit as it was given. The name must exist."""
        return self._by_name[name]

    def limits_on(self, resource: str) -> list[Limit]:
        """Return the limits on a resource; none if there is no such resource."""
        return self._by_resource.get(resource, [])

    @property
    def has_cohort_limits(self) -> bool:
        """Whether any limit is per cohort."""
        return any(COHORT_FIELD in limit.per for limit in self.limits)

    def cohort_named(self, tenant: object) -> str:
        """Return the cohort that limits per cohort count in what a claim calls its tenant."""
        if not isinstance(tenant, str):
            return DEFAULT_COHORT
        return self.cohort_of.get(tenant, DEFAULT_COHORT)

    def member_of(self, cohort: str) -> str:
        """Return a tenant that limits per cohort count in a cohort; "" is one of the default."""
        return next(iter(self._cohorts.get(cohort, ())), "")

    def scope_of(self, limit: Limit, claim: Claim, cohort: str = "") -> tuple[str, ...]:
        """Return the claim's values of what the limit is `per`.

        Args:
            limit: The limit.
            claim: Who asks.
            cohort: That which the claim was counted in, where that is past; else its tenant's now.

        Raises:
            InvalidClaim: the claim does not say; naming the field that is missing.
        """
        if not cohort and COHORT_FIELD in limit.per:
            if not isinstance(claim.tenant, str):
                raise InvalidClaim("tenant", claim.tenant, f"a text: {limit.name} is per cohort")
            cohort = self.cohort_named(claim.tenant)
        return scope_of(limit, claim, cohort)

    def varies(self, limit: Limit) -> bool:
        """Return whether the limit has other numbers at some scopes."""
        shared = isinstance(limit, Capacity) and limit.is_shared
        return shared or self._overrides.concerns(limit)

    def rule(self, name: str, scope: tuple[str, ...], now_us: int) -> Rule:
        """Return the numbers of a limit at a scope, with windows that reach past `now_us`."""
        key = (name, scope if self.varies(self._by_name[name]) else None)
        rule = self._rules.get(key)
        if rule is None or rule.is_stale(now_us):
            if len(self._rules) >= RULES_MAX:
                self._rules.clear()
            rule = self._rules[key] = rule_of(self.limit(name, scope), now_us)
        return rule

    def shared_units(self, name: str, tenant: str) -> int:
        """Return how many units of a capacity a tenant shares with others; 0 if it shares none."""
        limit = self._by_name[name]
        if not isinstance(limit, Capacity):
            return 0
        if limit.per == (COHORT_FIELD,):
            own = self.limit(name, (self.cohort_named(tenant),))
            assert isinstance(own, Capacity)
            return own.effective
        if "tenant" not in limit.per:
            return 0 if limit.is_shared else limit.effective
        members = self._cohorts.get(self.cohort_of.get(tenant, ""), ())
        units = 0
        for member in members if limit.is_shared else ():
            own = self.limit(name, (member,))
            assert isinstance(own, Capacity)
            units += own.effective
        return units

    def cohort(self, limit: Limit, member: str) -> tuple[str, Rule, dict[str, int]] | None:
        """Return in which cohort a member lends and borrows a capacity, if in any.

        Returns:
            Its name, the rule of what is lent, and the units that each member keeps to itself.
        """
        if isinstance(limit, Capacity) and limit.partitions:
            members = dict.fromkeys((*limit.partitions, DEFAULT_PARTITION), 0)
            return limit.name, cohort_rule(limit.effective), members
        name = self.cohort_of.get(member)
        if name is None or not isinstance(limit, Capacity):
            return None
        lendable, kept = 0, {}
        for other in self._cohorts[name]:
            own = self.limit(limit.name, (other,))
            assert isinstance(own, Capacity)
            if own.is_shared:
                lends = own.effective if own.lend is None else min(own.lend, own.effective)
                lendable += lends
                kept[other] = own.effective - lends
        return name, cohort_rule(lendable), kept

    def hold_end_us(self, claim: Claim, granted_us: int) -> int:
        """Return when a lease of the claim ends at the latest, however often it is renewed."""
        longest_us = [
            limit.hold_max_us
            for resource in claim.hold
            for limit in self.limits_on(resource)
            if isinstance(limit, Capacity) and limit.hold_max_us is not None
        ]
        return granted_us + min(longest_us, default=NEVER_US)

    def ask(self, claim: Claim, *, lease_us: int, now_us: int, holder: str = "") -> Ask:
        """Resolve a claim.

        Raises:
            InvalidClaim: an unknown resource, an amount that is no positive integer or above what
                the limit can ever grant, a scope the claim says nothing about, a bad id.
        """
        self.check_id(claim)
        if type(claim.priority) is not int or not 0 <= claim.priority <= PRIORITY_MAX:
            raise InvalidClaim("priority", claim.priority, f"0..{PRIORITY_MAX}")
        touched = rows.Rows(self, claim, now_us)
        for field, amounts in (("take", claim.take), ("hold", claim.hold)):
            for resource, units in amounts.items():
                for limit in self.named(resource, field):
                    touched.add(limit, units, field)
        return touched.ask(lease_us, holder)

    def holding(self, record: LeaseRecord, now_us: int) -> Ask:
        """Resolve what a lease holds already, also what today's limits would no longer grant.

        Raises:
            InvalidClaim: a resource there is no limit on any more, or a scope it says nothing of.
        """
        touched = rows.Rows(self, record.claim, now_us)
        for resource, units in record.claim.hold.items():
            for limit in self.named(resource, "hold"):
                touched.add(limit, units, None)
        return touched.ask(0, record.holder)

    def overview(self, claim: Claim, now_us: int) -> Ask:
        """Resolve one unit of every limit that the claim's attributes can say the scope of.

        For looking at limits, not for admission: what the claim takes or holds plays no part.
        """
        touched = rows.Rows(self, claim, now_us)
        for limit in self.limits:
            try:
                scope = self.scope_of(limit, claim)
            except InvalidClaim:
                continue
            override = self._overrides.find(limit, scope) if self._overrides else None
            if override is None or override.units is not None:
                touched.add(limit, 1, None)
        return touched.ask(0, "")

    def one(self, name: str, claim: Claim, units: int, now_us: int) -> Ask:
        """Resolve `units` that one limit is to have used, whether or not it could grant them.

        Raises:
            InvalidClaim: no such limit, or a capacity, which leases use; no scope; bad units.
        """
        if name not in self._by_name or isinstance(self._by_name[name], Capacity):
            timed = [limit.name for limit in self.limits if not isinstance(limit, Capacity)]
            raise InvalidClaim("limit", name, " | ".join(sorted(timed)) or "no limit")
        if type(units) is not int or not 0 <= units <= UNITS_MAX:
            raise InvalidClaim("units", units, f"0..{UNITS_MAX}")
        touched = rows.Rows(self, claim, now_us)
        touched.add(self._by_name[name], units, None)
        return touched.ask(0, "")

    def named(self, resource: str, field: str) -> list[Limit]:
        """Return the limits on a resource that a claim takes or holds. Raises InvalidClaim."""
        limits = self._by_resource.get(resource)
        held = field == "hold"
        if limits is None or isinstance(limits[0], Capacity) != held:
            known = sorted(
                name
                for name, others in self._by_resource.items()
                if isinstance(others[0], Capacity) == held
            )
            raise InvalidClaim(f"{field}.{resource}", resource, " | ".join(known) or "nothing")
        return limits

    def check_id(self, claim: Claim) -> None:
        """Refuse an id that cannot be kept. Raises InvalidClaim."""
        if claim.id is not None and not (
            isinstance(claim.id, str) and 1 <= len(claim.id) <= ID_LENGTH_MAX
        ):
            raise InvalidClaim("id", claim.id, f"1..{ID_LENGTH_MAX} characters")
