"""A decision is the answer to a claim, as a value."""

from __future__ import annotations

from typing import Literal

import msgspec

from tidegate.domain.lease import Lease
from tidegate.domain.limit import Capacity, Limit, Quota

Reason = Literal[
    "rate_limited",
    "quota_exceeded",
    "exhausted",
    "memory_pressure",
    "degraded",
    "suspended",
    "timeout",
    "store_unavailable",
]


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """How one limit stands for one scope.

    `units` is the most that can be had at once, `remaining` what is left of it now. `reset_us` is
    when it is whole again if nothing more is taken; None for capacities, which holders give back.
    `window_us` is in how long `units` come back once they are spent; None for capacities. A
    `shadow` refuses nothing.
    """

    name: str
    resource: str
    scope: tuple[str, ...]
    units: int
    remaining: int
    reset_us: int | None
    window_us: int | None = None
    shadow: bool = False


class Granted(Lease, gc=False, eq=False):
    """The claim may go ahead. A grant is its lease: release it when the work ends.

    `repeated` says that the claim's id had been granted before: this is the same grant again.
    `limits` say how the limits of the claim stand now, where that was asked for.
    """

    repeated: bool = False
    limits: tuple[LimitState, ...] = ()

    @property
    def lease(self) -> Lease:
        """The lease that was granted."""
        return self


class Denied(msgspec.Struct, frozen=True, gc=False):
    """The claim was refused and charged nothing.

    `limit` and `scope` name the limit that refused, for example `host_requests` and
    `("acme", "example.com")`; both are empty when the gate refused before any limit.
    `remaining` are the units left there. `retry_after_us` is exact for rates and quotas, a hint
    or None for capacities; `timed` says which of the two. `limits` is as in `Granted`.
    """

    reason: Reason
    limit: str = ""
    scope: tuple[str, ...] = ()
    remaining: int = 0
    retry_after_us: int | None = None
    timed: bool = False
    limits: tuple[LimitState, ...] = ()

    def describe(self) -> str:
        """Return one sentence for people."""
        where = f" by {self.limit}" if self.limit else ""
        for_whom = f" for {' x '.join(self.scope)}" if self.scope else ""
        if self.retry_after_us is None:
            return f"refused{where}{for_whom}: {self.reason}"
        wait_s = self.retry_after_us / 1e6
        return f"refused{where}{for_whom}: {self.reason}, retry after {wait_s:.3f} s"


Decision = Granted | Denied


def reason_of(limit: Limit) -> Reason:
    """Return why a claim is refused when this limit refuses it."""
    if isinstance(limit, Capacity) and "tenant" not in limit.per:
        return "exhausted"
    return "quota_exceeded" if isinstance(limit, Capacity | Quota) else "rate_limited"
