"""Claims, leases and levels as requests to the store, and its answers as decisions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence

from tidegate.domain.ask import Cell
from tidegate.domain.batch import (
    Adjust,
    Answer,
    Call,
    Done,
    End,
    Touch,
)
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Granted
from tidegate.domain.lease import Lease, LeaseRecord, Outcome
from tidegate.domain.policy import Policy
from tidegate.errors import LeaseLost, TidegateError
from tidegate.facades.sharing.leasing import Leasing, Pool
from tidegate.facades.sharing.outbox import (
    Asked,
    Naming,
    Request,
    Returns,
    cell_name,
    ignored,
)
from tidegate.facades.sharing.questions import Question, Terms
from tidegate.facades.sharing.resolver import Resolver
from tidegate.facades.sharing.session import Session
from tidegate.facades.sharing.wording import check_actual, digest_of, id_of

EXPIRED_MAX = 10_000
"""Expired leases that are kept until somebody asks for them."""

Heard = Callable[[Decision | TidegateError], object]


class Clerk:
    """Speaks for one session, and is the owner of its leases.

    Giving back needs no answer: tasks do not wait for it, threads carry it at once.

    Args:
        policy: The limits in force at first.
    """

    def __init__(self, session: Session, policy: Policy) -> None:
        self.session = session
        self.be_carried(lambda: None, lambda: None)
        self.resolver = Resolver(policy, session.now_us)
        self.leasing = Leasing(
            self, lock=session.lock, now_us=session.now_us, give_back=self._return_tokens
        )
        self.leasing.bind(policy)
        session.expire = self.expire
        self._returns: Returns | None = None
        self.granted = 0
        self.released: Counter[str] = Counter()
        self.shadowed: Counter[str] = Counter()
        self.expired: deque[LeaseRecord] = deque(maxlen=EXPIRED_MAX)

    def be_carried(self, send: Callable[[], None], flush: Callable[[], None]) -> None:
        """Say who carries: `send` gets the wire going, `flush` carries where callers do that."""
        self._send, self._flush = send, flush

    @property
    def policy(self) -> Policy:
        """The limits in force."""
        return self.resolver.policy

    def set_policy(self, policy: Policy) -> None:
        """Put other limits in force."""
        with self.session.lock:
            # What was drawn goes back by the rules it was drawn under.
            self.leasing.bind(policy)
            self.resolver = Resolver(policy, self.session.now_us)

    @property
    def lease_prefix(self) -> str:
        """See `LeaseOwner.lease_prefix`."""
        return self.session.lease_prefix

    def admit(self, claim: Claim, terms: Terms, heard: Heard) -> None:
        """Ask for a claim. Raises InvalidClaim."""
        plan = self.resolver.plan(claim)
        is_plain = claim.id is None and not terms.report and not terms.ticket
        digest = "" if claim.id is None else digest_of(claim)
        question = Question(self, claim, terms, heard, plan, plan.ask, is_plain, digest)
        if self.leasing.is_used:
            with self.session.lock:
                if question.is_answered_here():
                    return
        if self.session.ask(question):
            self._send()

    def again(self, question: Question) -> None:
        """Let a question travel."""
        question.given_up = False
        self.ask(question)

    def release(self, lease: Lease, outcome: Outcome = "success") -> bool:
        """Give back what a lease holds; False if it was not live here."""
        with self.session.lock:
            kept = self.session.holdings.pop(lease)
            if kept is None and not (lease.known_as and lease.claim.id is not None):
                # A grant that was told again may be another process's: it is ended by its id.
                return False
            self.give_back(kept or lease)
            self.released[outcome] += 1
        self._flush()
        return True

    def give_back(self, lease: Lease) -> None:
        """Let the store have what a lease holds. The lock is held."""
        if lease.claim.id is not None:
            claim_id = id_of(lease.claim)
            self.tell(lambda _: (End(claim_id, lease.fencing_token),))
        elif lease.rows:
            returns, member = self._returns, self.session.member
            if returns is None or not returns.is_open or returns.member != member:
                returns = self._returns = Returns(member)
                if self.session.ask(returns, first=True):
                    self._send()
            returns.add(lease.rows)

    def give_up_all(self) -> None:
        """Give back everything, and tell the holders, whose bodies may go on no longer."""
        with self.session.lock:
            for lease in self.session.holdings.all():
                self.session.holdings.drop(lease)
                self.give_back(lease)
                self.released["cancelled"] += 1

    def settle(self, lease: Lease, actual: Mapping[str, int]) -> bool:
        """Replace the amounts a lease took by those really used; False if that was done before."""
        check_actual(lease.claim, actual)
        with self.session.lock:
            kept = self.session.holdings.get(lease) or lease
            if kept.settled:
                return False
            kept.settled = lease.settled = True
        self._adjust(lease, {r: n - lease.claim.take[r] for r, n in actual.items()})
        self._flush()
        return True

    def void(self, lease: Lease, drawn: Collection[str] = ()) -> None:
        """Take back a grant whose holder never heard of it, with all it took; free its id.

        What it took of resources that were `drawn` is accounted for already.
        """
        with self.session.lock:
            kept = self.session.holdings.pop(lease)
            if lease.claim.id is not None:
                self._void_id(lease)
                return
            self._refund(lease, drawn)
            if kept is not None:
                self.give_back(kept)

    def _void_id(self, lease: Lease) -> None:
        """Take back a grant with an id, unless a retry has heard of it: then it is the retry's."""

        def answered(answers: Sequence[Answer]) -> None:
            if answers[0] == Done():
                self._refund(lease)
            elif isinstance(lease, Granted) and lease.expires_us > self.session.now_us():
                # Nobody here looks after it, so it ends by its expiry, unless it is released.
                self.session.holdings.add(lease)

        claim_id = id_of(lease.claim)
        self.ask(
            Request(
                calls=lambda _: (End(claim_id, lease.fencing_token, True),),
                answered=answered,
                failed=ignored,
                late=answered,
                must=True,
            )
        )

    def _refund(self, lease: Lease, drawn: Collection[str] = ()) -> None:
        if not lease.settled:
            lease.settled = True
            self._adjust(lease, {r: -n for r, n in lease.claim.take.items() if r not in drawn})

    def renew(self, lease: Lease, lease_us: int) -> int:
        """Move a lease's expiry; nothing travels but, with the next batch, the claim's id.

        Raises:
            LeaseLost: it was released, it expired, or the store has lost this process.
        """
        with self.session.lock:
            self.expire()
            kept = self.session.holdings.get(lease)
            if kept is None:
                raise LeaseLost(lease.id)
            now_us = self.session.now_us()
            left_us = self.policy.hold_end_us(kept.claim, kept.granted_us) - now_us
            kept.renewed_us, kept.lease_us = now_us, min(lease_us, left_us)
            self.session.holdings.moved(kept)
            claim_id = id_of(kept.claim)
        if claim_id:
            self._touch(kept, claim_id, lease_us)
        return kept.expires_us

    def expire(self) -> None:
        """Give back what has expired."""
        with self.session.lock:
            for lease in self.session.holdings.expired(self.session.now_us()):
                self.expired.append(lease.record())
                self.give_back(lease)

    def _adjust(self, lease: Lease, deltas: Mapping[str, int]) -> None:
        def calls(naming: Naming) -> Sequence[Call]:
            now_us = self.session.now_us()
            found = []
            for resource, units in deltas.items():
                for limit in self.policy.named(resource, "take"):
                    scope = self.policy.scope_of(limit, lease.claim, lease.cohort)
                    at = naming.cell(cell_name(Cell(limit.name, scope)))
                    rule = naming.rule(self.policy.rule(limit.name, scope, now_us))
                    found.append(Adjust(at, rule, units, lease.granted_us))
            return found

        if any(deltas.values()):
            # To charge twice does less harm than to give back twice.
            self.tell(calls, again=min(deltas.values()) >= 0)

    def _return_tokens(self, pool: Pool, units: int) -> None:
        """Put tokens back that were drawn and not spent."""
        policy = self.policy

        def calls(naming: Naming) -> Sequence[Call]:
            rule = policy.rule(pool.cell.limit, pool.cell.scope, naming.now_us)
            cell = naming.cell(cell_name(pool.cell))
            return (Adjust(cell, naming.rule(rule), -units, pool.drawn_us),)

        self.tell(calls, again=False)

    def _touch(self, lease: Granted, claim_id: str, lease_us: int) -> None:
        def answered(answers: Sequence[Answer]) -> None:
            if answers and answers[0] == Done(False):
                # Another process ended it by its id.
                self.session.holdings.drop(lease)

        self.ask(
            Request(
                calls=lambda _: (Touch(claim_id, lease.fencing_token, lease_us),),
                answered=answered,
                failed=ignored,
                late=answered,
            ),
            quietly=True,
        )

    def tell(self, calls: Callable[[Naming], Sequence[Call]], *, again: bool = True) -> None:
        """Ask for what must happen even though nobody waits for it. See `Request` for `again`."""
        request = Request(calls=calls, answered=ignored, failed=ignored, late=ignored, must=True)
        request.again = again
        self.ask(request)

    def ask(self, request: Asked, *, quietly: bool = False) -> None:
        """Let a request travel; `quietly` with the next batch that travels anyway."""
        if self.session.ask(request, quietly=quietly):
            self._send()
