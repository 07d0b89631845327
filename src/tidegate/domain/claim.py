"""A claim is what one piece of work needs, of every kind.

A msgspec Struct and not a dataclass: one is made per decision, and a frozen dataclass costs ten
times as much to construct. Amounts are checked where limits are known, in `domain/policy`.
"""

from __future__ import annotations

import msgspec

PRIORITY_DEFAULT = 500


class Claim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Amounts of several resources, all or nothing.

    `take` is spent (rates, quotas), `hold` is given back (capacities); both map a resource to
    base units. `tenant`, `host`, `user`, `route` and `attributes` are what scopes pick from.
    `id` makes a retry safe: the same id is granted once. Priority 0..1000, higher goes first.
    """

    tenant: str = "default"
    take: dict[str, int] = {}
    hold: dict[str, int] = {}
    host: str | None = None
    user: str | None = None
    route: str | None = None
    attributes: dict[str, str] = {}
    priority: int = PRIORITY_DEFAULT
    id: str | None = None
