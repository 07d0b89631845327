"""What a trial found: who was refused, when, by which limit, and how often.

Counts are exact. Of tenants at most `TENANTS_MAX` are told apart; the others share one row, so that
a log with an address for each tenant cannot fill the memory.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec

from tidegate.facades.replay.request import Request

TENANTS_MAX = 100_000
OTHERS = "(others)"
_MINUTE_US = 60_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One refused request. `limit` is empty where the claim itself is invalid; `why` says it."""

    at_us: int
    tenant: str
    reason: str
    limit: str = ""
    scope: tuple[str, ...] = ()
    remaining: int = 0
    retry_after_us: int | None = None
    why: str = ""

    @property
    def refused_by(self) -> str:
        """The limit, or the reason where there is none."""
        return self.limit or self.reason


class TenantReport(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant. `worst_limit` is the one that refused it most often."""

    tenant: str
    requests: int
    refused: int
    share: float
    first_refused: datetime | None
    last_refused: datetime | None
    worst_limit: str | None


class LimitReport(msgspec.Struct, frozen=True, kw_only=True):
    """One limit that refused, and how many tenants it refused."""

    limit: str
    refused: int
    tenants: int


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """A minute of the log."""

    start: datetime
    requests: int
    refused: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one policy. Tables are sorted by what was refused, most first.

    `busiest_minute` has the most requests, the first of several. `unlimited` counts requests that
    named a resource on which the policy sets no limit.
    """

    policy: str
    requests: int
    refused: int
    share: float
    first: datetime | None
    last: datetime | None
    busiest_minute: Minute | None
    reasons: dict[str, int]
    limits: list[LimitReport]
    tenants: list[TenantReport]
    unlimited: dict[str, int]


class _Seen(msgspec.Struct):
    requests: int = 0
    first_us: int = 0
    last_us: int = 0
    limits: dict[str, int] = {}

    @property
    def refused(self) -> int:
        return sum(self.limits.values())


class Tally:
    """Counts requests as they are decided, in the order of their time."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Seen] = {}
        self._reasons: Counter[str] = Counter()
        self._first_us: int | None = None
        self._now_us = 0
        self._minute = self._busiest = (0, 0, 0)

    def add(self, request: Request, refusal: Refusal | None, *, at_us: int) -> None:
        """Count one decision that was made at `at_us`."""
        if self._first_us is None:
            self._first_us = at_us
        self._now_us = at_us
        seen = self._seen(request.claim.tenant)
        seen.requests += 1
        if refusal is not None:
            self._reasons[refusal.reason] += 1
            seen.first_us = seen.first_us if seen.limits else at_us
            seen.last_us = at_us
            seen.limits[refusal.refused_by] = seen.limits.get(refusal.refused_by, 0) + 1
        start_us, requests, refused = self._minute
        if at_us - start_us >= _MINUTE_US:
            start_us, requests, refused = at_us - at_us % _MINUTE_US, 0, 0
        self._minute = (start_us, requests + 1, refused + (refusal is not None))
        if requests + 1 > self._busiest[1] or start_us == self._busiest[0]:
            self._busiest = self._minute

    def report(self, policy: str, unlimited: Counter[str]) -> Report:
        """Return what was counted so far."""
        requests = sum(seen.requests for seen in self._tenants.values())
        refused = self._reasons.total()
        start_us, most, of_them = self._busiest
        return Report(
            policy=policy,
            requests=requests,
            refused=refused,
            share=_share(refused, requests),
            first=None if self._first_us is None else instant(self._first_us),
            last=None if self._first_us is None else instant(self._now_us),
            busiest_minute=Minute(start=instant(start_us), requests=most, refused=of_them)
            if requests
            else None,
            reasons=dict(sorted(self._reasons.items())),
            limits=self._limits(),
            tenants=sorted(
                (_tenant(name, seen) for name, seen in self._tenants.items()),
                key=lambda row: (-row.refused, -row.requests, row.tenant),
            ),
            unlimited=dict(sorted(unlimited.items())),
        )

    def _seen(self, tenant: str) -> _Seen:
        seen = self._tenants.get(tenant)
        if seen is None:
            if len(self._tenants) >= TENANTS_MAX:
                return self._tenants.setdefault(OTHERS, _Seen())
            seen = self._tenants[tenant] = _Seen()
        return seen

    def _limits(self) -> list[LimitReport]:
        refused: Counter[str] = Counter()
        tenants: Counter[str] = Counter()
        for seen in self._tenants.values():
            refused.update(seen.limits)
            tenants.update(seen.limits.keys())
        rows = (
            LimitReport(limit=limit, refused=count, tenants=tenants[limit])
            for limit, count in refused.items()
        )
        return sorted(rows, key=lambda row: (-row.refused, row.limit))


class Difference(msgspec.Struct, kw_only=True):
    """How many requests of a tenant only the first policy refused, only the second, and both."""

    tenant: str
    only_first: int = 0
    only_second: int = 0
    both: int = 0

    def add(self, first: Refusal | None, second: Refusal | None) -> None:
        """Count one request by what the two policies said."""
        self.both += first is not None and second is not None
        self.only_first += first is not None and second is None
        self.only_second += first is None and second is not None


class Comparison:
    """Two policies request by request, in all and by tenant."""

    def __init__(self) -> None:
        self.total = Difference(tenant="")
        self._tenants: dict[str, Difference] = {}

    def add(self, tenant: str, first: Refusal | None, second: Refusal | None) -> None:
        """Count one request."""
        if first is None and second is None:
            return
        if tenant not in self._tenants and len(self._tenants) >= TENANTS_MAX:
            tenant = OTHERS
        self.total.add(first, second)
        self._tenants.setdefault(tenant, Difference(tenant=tenant)).add(first, second)

    def tenants(self) -> list[Difference]:
        """Return the tenants that the policies do not treat alike, the most different first."""
        differing = (row for row in self._tenants.values() if row.only_first or row.only_second)
        return sorted(differing, key=lambda row: (-row.only_first - row.only_second, row.tenant))


def instant(at_us: int) -> datetime:
    """Return an instant as people read it, in UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def _tenant(name: str, seen: _Seen) -> TenantReport:
    refused = seen.refused
    worst = max(sorted(seen.limits), key=lambda limit: seen.limits[limit], default=None)
    return TenantReport(
        tenant=name,
        requests=seen.requests,
        refused=refused,
        share=_share(refused, seen.requests),
        first_refused=instant(seen.first_us) if refused else None,
        last_refused=instant(seen.last_us) if refused else None,
        worst_limit=worst,
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
