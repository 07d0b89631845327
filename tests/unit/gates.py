"""The gate that the tests of gates share."""

from __future__ import annotations

from tidegate import Capacity, Claim, Denied, Granted, Quota, RateLimit
from tidegate.domain.limit import Limit

LIMITS: list[Limit] = [
    RateLimit("requests", units=100, period_s=1, burst=5, per=("tenant",)),
    RateLimit("host_requests", units=3, period_s=2, burst=3, per=("tenant", "host")),
    Quota("operations", units=1000, period="month", per=("tenant",)),
    Capacity("browsers", units=2),
    Capacity("sessions", units=1, per=("tenant",)),
]
BROWSER = Claim(hold={"browsers": 1})
BOTH = Claim(hold={"browsers": 2})


def lease_of(decision: Granted | Denied) -> str:
    """Return the id of the lease that a decision must have given."""
    assert isinstance(decision, Granted)
    return decision.lease.id
