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
        """A number that tells this claim from others; a retry may have another priority."""
        amounts = (frozenset(self.take.items()), frozenset(self.hold.items()))
        who = (self.tenant, self.host, self.user, self.route, frozenset(self.attributes.items()))
        return hash((amounts, who))
