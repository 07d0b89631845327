"""Those who claim, hold, settle, give up and are lost; and what must be true of all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from tests.simulation.scene import SECOND_US, Process, Store, Time
from tidegate.domain.admission import Level, aged, spent
from tidegate.domain.ask import Cell
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied, Granted
from tidegate.domain.policy import Policy
from tidegate.domain.rule import STOCK
from tidegate.errors import AdmissionDenied, TidegateError
from tidegate.facades.sharing.outbox import cell_name
from tidegate.facades.sharing.turn import SharedTurn
from tidegate.facades.turn import HoldTerms

LATE_US = 3 * SECOND_US
"""How much later than its timeout an answer may come while the network is bad."""


@dataclass
class Ledger:
    """What clients saw, for the checks at every step and at the end."""

    policy: Policy
    store: Store
    running: dict[int, tuple[Granted, Process]] = field(default_factory=dict)
    tokens: set[int] = field(default_factory=set)
    served: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    late_us: list[int] = field(default_factory=list)
    unanswered: int = 0

    def begin(self, lease: Granted, process: Process) -> None:
        """A body starts under its lease."""
        token = lease.fencing_token
        assert token not in self.tokens or lease.repeated, f"token {token} was given twice"
        self.tokens.add(token)
        self.running[token] = (lease, process)
        self.served[lease.claim.tenant] += 1
        self.check_holders()

    def end(self, lease: Granted) -> None:
        """A body has ended, or was told that its lease is lost."""
        self.running.pop(lease.fencing_token, None)

    def check_holders(self) -> None:
        """No capacity is held by more bodies that run than it has units."""
        held: Counter[str] = Counter()
        for lease, process in self.running.values():
            if process.runs:
                held.update(lease.claim.hold)
        for resource, units in held.items():
            for limit in self.policy.limits_on(resource):
                ceiling = self.policy.rule(limit.name, (), 0).ceiling
                assert units <= ceiling, f"{units} of {ceiling} {resource} are held"

    def check_store(self) -> None:
        """The store holds what its members hold, and no rate is above its ceiling."""
        world, now_us = self.store.world, self.store.now_us
        held: Counter[str] = Counter()
        for member in world.members.values():
            held.update(member.held)
        for limit in self.policy.limits:
            rule = self.policy.rule(limit.name, (), now_us)
            name = cell_name(Cell(limit.name, ()))
            level = world.levels.get(name, Level())
            if rule.kind == STOCK:
                assert level.amount == held[name], f"{name}: {level.amount} but {held[name]} held"
            assert spent(rule, aged(rule, level, now_us), now_us) <= rule.ceiling


class Client:
    """One claim, from asking to giving back."""

    def __init__(
        self, ledger: Ledger, process: Process, claim: Claim, *, timeout_s: float, work_us: int
    ) -> None:
        self._ledger, self._process, self._claim = ledger, process, claim
        self._timeout_s, self._work_us = timeout_s, work_us
        self._time: Time = process._time
        self._asked_us = 0
        self._answered = False
        self.turn: SharedTurn | None = None

    def start(self) -> None:
        """Ask."""
        self._asked_us = self._time.now_us
        terms = HoldTerms(timeout_s=self._timeout_s, lease_s=30.0, capacities_only=False, holder="")
        self._ledger.unanswered += 1
        try:
            self.turn = SharedTurn(
                self._process.member.lanes,
                self._claim,
                terms,
                lambda: self._time.after(0, self._look),
                self._time.now_us / 1e6,
                carry=self._process.kick,
                count=lambda denied: denied,
                without=lambda: Denied("store_unavailable"),
            )
        except TidegateError as error:
            self._done(error.code)
            return
        self._look()

    def _look(self) -> None:
        self._process.do(self._poll)

    def _poll(self) -> None:
        turn = self.turn
        if turn is None or self._answered:
            return
        wait_s = turn.poll(self._time.now_us / 1e6)
        if wait_s is not None:
            self._time.after(max(1_000, round(min(wait_s, 1.0) * 1e6)), self._look)
            return
        try:
            lease = turn.result()
        except AdmissionDenied as refused:
            self._done(refused.denied.reason)
            return
        except TidegateError as error:
            self._done(error.code)
            return
        self._done("granted")
        self._hold(lease)

    def _done(self, outcome: str) -> None:
        self._answered = True
        self._ledger.unanswered -= 1
        self._ledger.outcomes[outcome] += 1
        waited_us = self._time.now_us - self._asked_us
        self._ledger.late_us.append(waited_us - round(self._timeout_s * 1e6))

    def _hold(self, lease: Granted) -> None:
        ledger = self._ledger
        if not lease.rows:
            lease.settle({name: max(0, n - 1) for name, n in lease.claim.take.items()})
            return
        if self._process.member.session.holdings.get(lease) is None:
            return
        ledger.begin(lease, self._process)
        self._process.member.watch(lease, lambda: ledger.end(lease))
        self._time.after(self._work_us, lambda: self._process.do(lambda: self._give_back(lease)))

    def _give_back(self, lease: Granted) -> None:
        self._ledger.end(lease)
        lease.release()
        self._process.kick()


def random_claim(random: Random, number: int) -> Claim:
    """Return a claim of one of a few tenants."""
    kind = random.randrange(4)
    tenant = random.choice(["a", "b", "c"])
    claim_id = f"id{number}" if random.randrange(3) == 0 else None
    priority = random.choice([100, 500, 900])
    if kind == 0:
        return Claim(tenant=tenant, take={"requests": random.randint(1, 3)}, priority=priority)
    if kind == 1:
        return Claim(tenant=tenant, hold={"gpus": 1}, id=claim_id, priority=priority)
    if kind == 2:
        return Claim(tenant=tenant, hold={"browsers": random.randint(1, 2)}, priority=priority)
    return Claim(tenant=tenant, take={"requests": 1}, hold={"browsers": 1, "gpus": 1}, id=claim_id)
