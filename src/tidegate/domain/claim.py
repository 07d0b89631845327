"""A claim is what one piece of work needs, of every kind.

A msgspec Struct and not a dataclass: one is made per decision, and a frozen dataclass costs ten
times as much to construct. Amounts are checked where limits are known, in `domain/policy`.
"""

from __future__ import annotations

from typing import Any

import msgspec

PRIORITY_DEFAULT = 500
PRIORITY_MAX = 1_000


class Nothing(dict[str, Any]):
    """An empty dict that stays so. All claims share it: a new one each time costs 64 bytes."""

    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError("the amounts of a claim are given when it is made")

    setdefault = update = __ior__ = __setitem__  # type: ignore[assignment]


NOTHING = Nothing()
SALT_MAX = 2**56 - 1
"""So that the sum of a few still is a number of one machine word."""


def salt_of(resource: str) -> int:
    """Return the number by which digests of claims tell resources apart."""
    return hash(resource) & SALT_MAX


class Claim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Amounts of several resources, all or nothing.

    `take` is spent (rates, quotas), `hold` is given back (capacities); both map a resource to
    base units. `tenant`, `host`, `user`, `route` and `attributes` are what scopes pick from.
    `id` makes a retry safe: the same id is granted once. Priority 0..1000, higher goes first
    among the claims of one tenant.
    """

    tenant: str = "default"
    take: dict[str, int] = NOTHING
    hold: dict[str, int] = NOTHING
    host: str | None = None
    user: str | None = None
    route: str | None = None
    attributes: dict[str, str] = NOTHING
    priority: int = PRIORITY_DEFAULT
    id: str | None = None

    @property
    def digest(self) -> int:
        """A number that tells the amounts and attributes of this claim from others.

        The amounts are summed up, so that a store can do that while it goes through them.
        """
        amounts = (*self.take.items(), *self.hold.items())
        digest = sum(units * salt_of(resource) for resource, units in amounts)
        return digest + hash(frozenset(self.attributes.items())) if self.attributes else digest
