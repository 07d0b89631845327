"""Which claim ids were granted, so that a retry gets the same grant again."""

from __future__ import annotations

from collections import deque
from typing import Any

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Granted
from tidegate.domain.lease import LeaseOwner
from tidegate.errors import ClaimIdReused

IDS_MAX = 100_000
DEDUP_US = 60_000_000
"""How long an id is remembered after its lease ended; longer than callers wait before a retry."""


_Ended = tuple[int, int, int, str, str, str]


class ClaimIds:
    """Granted ids by tenant. Not locked: its owner is. Claims without an id pass it by.

    A live lease is kept as it is. Of one that has ended only what a retry needs, as a tuple of
    token, claim digest, end, tenant, id and name: a lease with its claim is three times as large.
    """

    __slots__ = ("_by_tenant", "_ended")

    def __init__(self) -> None:
        self._by_tenant: dict[str, dict[str, Any]] = {}
        self._ended: deque[_Ended] = deque()

    def find(self, claim: Claim, claim_id: str, owner: LeaseOwner) -> Granted | None:
        """Return the earlier grant of this claim.

        Raises:
            ClaimIdReused: the id was granted for another claim.
        """
        ids = self._by_tenant.get(claim.tenant)
        if ids is None:
            return None
        earlier = ids.get(claim_id)
        if earlier is None:
            return None
        digest = earlier.claim.digest if isinstance(earlier, Granted) else earlier[1]
        # A retry may be more urgent than the first try was; in all else it is the same claim.
        if claim.digest != digest:
            raise ClaimIdReused("id", claim_id, "the claim it was first granted for")
        return _repeated(claim, earlier, owner)

    def remember(self, lease: Granted, tenant: str, claim_id: str) -> None:
        """Keep a grant as long as its lease lives, and for a while after `end`."""
        ids = self._by_tenant.get(tenant)
        if ids is None:
            ids = self._by_tenant[tenant] = {}
        ids[claim_id] = lease

    def end(self, lease: Granted, claim_id: str, now_us: int) -> None:
        """Let the id go some time after its lease has ended."""
        claim = lease.claim
        record = (
            lease.fencing_token,
            claim.digest,
            now_us,
            claim.tenant,
            claim_id,
            lease.known_as,
        )
        self._by_tenant[claim.tenant][claim_id] = record
        self._ended.append(record)

    def forget(self, claim: Claim) -> None:
        """Free the id at once: its holder never heard of the grant."""
        if claim.id is not None:
            self._drop(claim.tenant, claim.id)

    def sweep(self, now_us: int) -> None:
        """Let go of ids whose leases ended long ago, and of the oldest when there are too many."""
        ended = self._ended
        while ended and (ended[0][2] + DEDUP_US <= now_us or len(ended) > IDS_MAX):
            record = ended.popleft()
            if self._by_tenant.get(record[3], {}).get(record[4]) is record:
                self._drop(record[3], record[4])

    def _drop(self, tenant: str, claim_id: str) -> None:
        ids = self._by_tenant.get(tenant)
        if ids is not None:
            ids.pop(claim_id, None)
            if not ids:
                del self._by_tenant[tenant]


def _repeated(claim: Claim, earlier: Any, owner: LeaseOwner) -> Granted:
    if isinstance(earlier, Granted):
        return Granted(
            earlier.fencing_token,
            earlier.claim,
            earlier.owner,
            earlier.granted_us,
            earlier.lease_us,
            renewed_us=earlier.renewed_us,
            settled=earlier.settled,
            known_as=earlier.known_as,
            repeated=True,
        )
    token, _, ended_us, _, _, known_as = earlier
    return Granted(
        token,
        claim,
        owner,
        ended_us,
        0,
        settled=True,
        known_as=known_as,
        repeated=True,
    )
