"""Leases of an earlier process, held again by this one."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.batch import Adopt, Call
from tidegate.domain.decision import Granted
from tidegate.domain.lease import LeaseRecord
from tidegate.facades.sharing.clerk import Clerk
from tidegate.facades.sharing.outbox import Naming, flat_held
from tidegate.facades.sharing.wording import digest_of, held_by, id_of


def adopt(clerk: Clerk, record: LeaseRecord) -> None:
    """Hold what a lease of an earlier process holds, even above the ceiling. Idempotent.

    Raises:
        InvalidClaim: a resource there is no limit on any more, or a scope it says nothing of.
    """
    session, digest = clerk.session, digest_of(record.claim)
    with session.lock:
        if session.holdings.find(record.id) is not None:
            return
        member, now_us = session.member, session.now_us()
        held = held_by(clerk.policy.holding(record, now_us), None)
        granted_us = record.granted_us or now_us
        session.holdings.add(
            Granted(
                record.fencing_token,
                record.claim,
                clerk,
                granted_us,
                record.expires_us - granted_us,
                record.holder,
                held,
                known_as=record.id,
                cohort=clerk.policy.cohort_named(record.claim.tenant),
            )
        )

    def calls(naming: Naming) -> Sequence[Call]:
        if naming.member != member:
            # It is lost, with all that the member was to hold.
            return ()
        left_us = max(1, record.expires_us - naming.now_us)
        claim_id, token = id_of(record.claim), record.fencing_token
        return (Adopt(flat_held(naming, held), claim_id, digest, token, left_us),)

    clerk.tell(calls)
