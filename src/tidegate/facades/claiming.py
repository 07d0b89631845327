"""What goes with a claim over the wire: its terms, what is answered, and what each call costs."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from tidegate.domain.claim import Claim
from tidegate.domain.decision import LimitState
from tidegate.domain.lease import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTerms:
    """How a claim is to be granted: how long to wait for it, and how long it lasts."""

    timeout_s: float = 0.0
    lease_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedClaim:
    """A granted claim and how its limits stand. `repeated`: its id had been granted before."""

    lease: Lease
    limits: list[LimitState]
    repeated: bool


def with_request(claim: Claim) -> Claim:
    """Return the claim with the one `requests` that every call takes."""
    take = {**claim.take, "requests": claim.take.get("requests", 0) + 1}
    return replace(claim, take=take)
