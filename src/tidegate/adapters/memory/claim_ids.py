"""Which claim ids were granted, so that a retry gets the same grant again."""

from __future__ import annotations

from collections import deque

import msgspec

from tidegate.domain.claim import Claim
from tidegate.errors import ClaimIdReused
from tidegate.ports.admission_store import Grant

IDS_MAX = 100_000
DEDUP_US = 60_000_000
"""How long an id is remembered after its lease ended; longer than callers wait before a retry."""


class _Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What an id was granted for: it tells a retry from a reuse."""

    claim: Claim
    grant: Grant


class ClaimIds:
    """Granted ids by tenant. Not locked: its owner is. Claims without an id pass it by."""

    def __init__(self) -> None:
        self._granted: dict[tuple[str, str], _Granted] = {}
        self._ends: deque[tuple[int, tuple[str, str], int]] = deque()

    def find(self, claim: Claim, now_us: int) -> Grant | None:
        """Return the earlier grant of this claim.

        Raises:
            ClaimIdReused: the id was granted for another claim.
        """
        while self._ends and (self._ends[0][0] <= now_us or len(self._ends) > IDS_MAX):
            _, key, token = self._ends.popleft()
            earlier = self._granted.get(key)
            if earlier is not None and earlier.grant.fencing_token == token:
                del self._granted[key]
        if claim.id is None:
            return None
        earlier = self._granted.get((claim.tenant, claim.id))
        if earlier is None:
            return None
        # A retry may be more urgent than the first try was; in all else it is the same claim.
        if msgspec.structs.replace(claim, priority=earlier.claim.priority) != earlier.claim:
            raise ClaimIdReused("id", claim.id, "the claim it was first granted for")
        return earlier.grant

    def remember(self, claim: Claim, grant: Grant) -> None:
        """Keep a grant as long as its lease lives, and for a while after `end`."""
        if claim.id is not None:
            self._granted[claim.tenant, claim.id] = _Granted(claim=claim, grant=grant)

    def end(self, claim: Claim, now_us: int) -> None:
        """Let the id go some time after its lease has ended."""
        if claim.id is not None:
            key = (claim.tenant, claim.id)
            earlier = self._granted.get(key)
            if earlier is not None:
                self._ends.append((now_us + DEDUP_US, key, earlier.grant.fencing_token))

    def forget(self, claim: Claim) -> None:
        """Free the id at once: its holder never heard of the grant."""
        if claim.id is not None:
            self._granted.pop((claim.tenant, claim.id), None)
