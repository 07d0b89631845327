"""Which claim ids were granted, so that a retry gets the same grant again."""

from __future__ import annotations

from collections import deque
from typing import Final

from tidegate.adapters.memory.records import GrantedId
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Granted
from tidegate.errors import ClaimIdReused

IDS_MAX: Final = 100_000
DEDUP_US: Final = 60_000_000
"""How long an id is remembered after its lease ended; longer than callers wait before a retry."""


Ids = dict[str | int, GrantedId]
"""What is known of the ids of one tenant.

One key is a number: then the dict keeps the hashes of its keys beside them, and a new id is told
from a hundred thousand others without a look at any of them. That takes half the time.
"""

NO_ID: Final = 0
_NOTHING = GrantedId(0, 0, "", "", None, None, None)


def no_ids() -> Ids:
    """Return a place for the ids of a tenant."""
    return {NO_ID: _NOTHING}


class ClaimIds:
    """Granted ids by tenant. Not locked: its owner is. Claims without an id pass it by."""

    __slots__ = ("by_tenant", "ended")

    def __init__(self) -> None:
        self.by_tenant: dict[str, Ids] = {}
        self.ended: deque[GrantedId] = deque()

    def find(self, claim: Claim) -> GrantedId | None:
        """Return what is known of the earlier grant of this claim, if its id has one.

        Raises:
            ClaimIdReused: the id was granted for another claim.
        """
        ids = self.by_tenant.get(claim.tenant)
        found = None if ids is None or claim.id is None else ids.get(claim.id)
        if found is None:
            return None
        # A retry may be more urgent than the first try was; in all else it is the same claim.
        if (claim.host, claim.user, claim.route, claim.digest) != (
            found.host,
            found.user,
            found.route,
            found.digest,
        ):
            raise ClaimIdReused("id", claim.id, "the claim it was first granted for")
        found.told = True
        return found

    def remember(self, lease: Granted, claim_id: str) -> None:
        """Keep the id of a grant as long as its lease lives, and for a while after `end`."""
        claim = lease.claim
        tenant = claim.tenant
        granted_id = GrantedId(
            lease.fencing_token,
            claim.digest,
            tenant,
            claim_id,
            claim.host,
            claim.user,
            claim.route,
            lease.known_as,
        )
        lease.granted_id = granted_id
        self.by_tenant.setdefault(tenant, no_ids())[claim_id] = granted_id

    def end(self, granted_id: GrantedId, now_us: int) -> None:
        """Let the id go some time after its lease has ended."""
        granted_id.ended_us = now_us
        self.ended.append(granted_id)

    def forget(self, claim: Claim) -> None:
        """Free the id at once: its holder never heard of the grant."""
        ids = self.by_tenant.get(claim.tenant)
        if ids is not None and claim.id is not None:
            ids.pop(claim.id, None)
            if len(ids) == 1:
                del self.by_tenant[claim.tenant]

    def sweep(self, now_us: int) -> None:
        """Let go of ids whose leases ended long ago, and of the oldest when there are too many."""
        ended, by_tenant = self.ended, self.by_tenant
        while ended:
            oldest = ended[0]
            if oldest.ended_us + DEDUP_US > now_us and len(ended) <= IDS_MAX:
                break
            ended.popleft()
            ids = by_tenant.get(oldest.tenant)
            known = None if ids is None else ids.get(oldest.claim_id)
            if ids is not None and known is oldest:
                del ids[oldest.claim_id]
                if len(ids) == 1:
                    del by_tenant[oldest.tenant]
