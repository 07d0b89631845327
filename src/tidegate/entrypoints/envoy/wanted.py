"""From Envoy's descriptors to a claim: who asks, what it costs, and whether it was used already.

All descriptors of a call make one claim, granted or refused as a whole. Each costs what the first
rule says that matches its entries, times its hits; if no rule matches any of them, the one that
names the tenant costs what a check costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.bootstrap import Settings
from tidegate.domain.check import UNKNOWN, VALUE_LENGTH_MAX
from tidegate.domain.claim import Claim
from tidegate.domain.rate import TICKS_MAX
from tidegate.entrypoints.envoy.messages import Descriptor, RateLimitRequest
from tidegate.errors import InvalidRequest

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a call wants.

    `take` is what it spends, `looked_at` what it asks after with 0 hits: is anything left of it?
    `parts` are the resources of each descriptor, in their order. `settles`: it was used already.
    """

    take: dict[str, int]
    looked_at: frozenset[str]
    parts: tuple[frozenset[str], ...]
    settles: bool


class DescriptorRules:
    """The `envoy` section of the settings, asked."""

    def __init__(self, settings: Settings) -> None:
        self._rules = settings.envoy.rules
        self._keys = settings.envoy.keys
        self._default: Amounts = settings.check.take
        self._own = {getattr(self._keys, name) for name in self._keys.__struct_fields__}

    def tenant(self, request: RateLimitRequest) -> str | None:
        """Return the tenant that the descriptors name.

        Raises:
            InvalidRequest: they name two.
        """
        named = {
            value
            for descriptor in request.descriptors
            for key, value in descriptor.entries
            if key == self._keys.tenant and value
        }
        if len(named) > 1:
            raise InvalidRequest("tenant", sorted(named)[:2], "one tenant in all descriptors")
        return named.pop() if named else None

    def wanted(self, request: RateLimitRequest) -> Wanted:
        """Return what the descriptors cost.

        Raises:
            InvalidRequest: more than can be counted.
        """
        costs = [(self._cost(each), each) for each in request.descriptors]
        if not any(cost for cost, _ in costs):
            costs = [(self._default if self._names(each) else {}, each) for _, each in costs]
        take: dict[str, int] = {}
        looked_at = set()
        for cost, descriptor in costs:
            hits = request.hits if descriptor.hits is None else descriptor.hits
            for resource, units in cost.items():
                if not hits:
                    looked_at.add(resource)
                    continue
                take[resource] = take.get(resource, 0) + units * hits
                if take[resource] >= TICKS_MAX:
                    raise InvalidRequest("hits_addend", hits, f"less than {TICKS_MAX} units")
        return Wanted(
            take=take,
            looked_at=frozenset(looked_at),
            parts=tuple(frozenset(cost) for cost, _ in costs),
            settles=any(self._has(each, self._keys.settle) for each in request.descriptors),
        )

    def claim(self, request: RateLimitRequest, tenant: str, take: Amounts) -> Claim:
        """Return a claim of the tenant that says all that the descriptors say."""
        said = {
            key: value[:VALUE_LENGTH_MAX] or UNKNOWN
            for descriptor in request.descriptors
            for key, value in descriptor.entries
        }
        keys = self._keys
        return Claim(
            tenant=tenant,
            take=dict(take),
            host=said.get(keys.host, UNKNOWN),
            user=said.get(keys.user, UNKNOWN),
            route=said.get(keys.route, UNKNOWN),
            attributes={key: value for key, value in said.items() if key not in self._own},
        )

    def _cost(self, descriptor: Descriptor) -> Amounts:
        pairs = set(descriptor.entries)
        keys = {key for key, _ in pairs}
        for rule in self._rules:
            if all((k, v) in pairs if v else k in keys for k, v in rule.entries.items()):
                return rule.take
        return {}

    def _names(self, descriptor: Descriptor) -> bool:
        return self._has(descriptor, self._keys.tenant)

    @staticmethod
    def _has(descriptor: Descriptor, key: str) -> bool:
        return any(name == key for name, _ in descriptor.entries)
