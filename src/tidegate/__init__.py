"""Tidegate: one gate between the tenants of a Python service and everything scarce.

One call decides, in one atomic step, whether a tenant may have all that a piece of work needs.
"""

# Before all others: it chooses whether they are found compiled.
import tidegate.forms  # noqa: F401  # isort: split
from tidegate.bootstrap import Gate
from tidegate.domain.adaptive import Aimd, Gradient2
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted, LimitState
from tidegate.domain.lease import Lease
from tidegate.domain.limit import Capacity, Quota, RateLimit, SlidingWindow
from tidegate.domain.overrides import Override
from tidegate.errors import AdmissionDenied, LeaseLost, TidegateError
from tidegate.facades.adaptive import AdaptiveCapacity

__all__ = [
    "AdaptiveCapacity",
    "AdmissionDenied",
    "Aimd",
    "Capacity",
    "Claim",
    "Decision",
    "Denied",
    "Gate",
    "Gradient2",
    "Granted",
    "Lease",
    "LeaseLost",
    "LimitState",
    "Override",
    "Quota",
    "RateLimit",
    "SlidingWindow",
    "TidegateError",
]
