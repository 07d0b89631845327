"""One member of a shared store, in plain synchronous steps: batches out, replies in.

Whoever has the wire asks for a batch, carries it, and brings the reply. One batch is under way at a
time; what is asked for meanwhile goes with the next. A batch without a reply is carried again until
it has one, and the store applies it once. Single leases live here; the store knows only what the
member holds in all, and takes it back when the member has been silent for `ttl_us`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from tidegate.domain.batch import APPLIED, LOST, Batch, Call, Reply
from tidegate.errors import StoreUnavailable, TidegateError
from tidegate.facades.near import NearEvents
from tidegate.facades.sharing.holdings import Holdings
from tidegate.facades.sharing.outbox import Asked, Naming, fail, ignored, known_error

CALLS_MAX = 256
"""Calls in one batch: more would block the store for a millisecond and longer."""
WAITING_MAX = 100_000
"""Requests that may wait for the wire; beyond it the store counts as not available."""
STALE_MAX = 5
"""After so many disagreements in a row about the calendar, those who wait are told."""


class Session:
    """Batches, replies and leases of one member. Safe for threads.

    Args:
        elapsed_us: A clock that never steps.
        name: Makes a fresh name for the member, at the start and whenever it was lost.
        ttl_us: How long the store waits for a sign of life.
        fixed_now_us: The store's time, for conformance suites; otherwise the store has its own.
        near: Where limits that come near are noted, if somebody listens.

    `applied_us` is the store's time at which it applied the last batch that was answered.
    """

    def __init__(
        self,
        *,
        elapsed_us: Callable[[], int],
        name: Callable[[], str],
        ttl_us: int,
        fixed_now_us: Callable[[], int] | None = None,
        near: NearEvents | None = None,
    ) -> None:
        self._elapsed_us = self.elapsed_us = elapsed_us
        self._name, self.ttl_us = name, ttl_us
        self._fixed_now_us, self.near = fixed_now_us, near
        self.member = name()
        self.holdings = Holdings()
        self.woken: Callable[[], None] = lambda: None
        self.expire: Callable[[], None] = lambda: None
        self.unheard: Callable[[TidegateError], None] = ignored
        self.renamed: Callable[[str], None] = ignored
        self.lock = threading.RLock()
        self._waiting: deque[Asked] = deque()
        self._under_way: tuple[Batch, list[Asked]] | None = None
        self._untold: deque[tuple[list[Asked], Reply]] = deque()
        self._seq = 0
        self._known = False
        self._is_carried = False
        self._sent_us = 0
        self._heard_us = elapsed_us()
        self._offset_us = 0
        self._stale = 0
        self.applied_us = 0
        self.batches = 0

    @property
    def lease_prefix(self) -> str:
        """What the ids of this member's leases begin with."""
        return f"{self.member}-"

    def now_us(self) -> int:
        """The store's time, as far as the last reply told it."""
        if self._fixed_now_us is not None:
            return self._fixed_now_us()
        return self._elapsed_us() + self._offset_us

    def ask(self, request: Asked, *, quietly: bool = False, first: bool = False) -> bool:
        """Let a request travel with the next batch, or as the `first` of it.

        Return whether the wire has to be got going for it: not if that was done before, and not
        for a request that goes `quietly`.
        """
        waiting = self._waiting
        if len(waiting) >= WAITING_MAX and not request.must:
            with self.lock:
                fail(request, StoreUnavailable(f"{WAITING_MAX} requests wait for the store"))
            return False
        if first:
            waiting.appendleft(request)
        else:
            waiting.append(request)
        if quietly or self._is_carried:
            return False
        self._is_carried = True
        return True

    @property
    def has_work(self) -> bool:
        """Whether there is a batch to carry, again or for the first time, or news to tell."""
        return bool(self._waiting or self._untold) or self._under_way is not None

    @property
    def waiting(self) -> int:
        """Requests that wait for the next batch."""
        return len(self._waiting)

    @property
    def is_quiet(self) -> bool:
        """Whether the store should hear a sign of life."""
        return self._known and self._elapsed_us() - self._heard_us >= self.ttl_us // 3

    def batch(self, *, sign_of_life: bool = False) -> Batch | None:
        """Return the batch to carry: the one without a reply, or the next; None if there is none.

        With `sign_of_life` an empty one is returned rather than none.
        """
        with self.lock:
            if self._under_way is not None:
                return self._under_way[0]
            now_us = self.now_us()
            if self.holdings.is_due(now_us):
                self.expire()
            # In this order: who asks from now on, and is not seen here, gets the wire going.
            self._is_carried = False
            waiting = self._waiting
            if not waiting and not sign_of_life:
                return None
            self._is_carried = True
            requests: list[Asked] = []
            naming = Naming(self.batches, self.member, now_us)
            calls: list[Call] = []
            while waiting and len(calls) < CALLS_MAX:
                request = waiting.popleft()
                try:
                    own = request.calls(naming)
                except Exception as error:
                    # The others of the batch have nothing to do with it.
                    fail(request, known_error(error))
                    continue
                request.count = len(own)
                calls += own
                requests.append(request)
            self._seq += 1
            batch = Batch(
                self.member,
                self._seq,
                self.ttl_us,
                not self._known,
                0 if self._fixed_now_us is None else self._fixed_now_us(),
                tuple(naming.rules),
                tuple(naming.cells),
                tuple(calls),
                self.near is not None,
            )
            self._under_way = (batch, requests)
            self._sent_us = self._elapsed_us()
            self.batches += 1
            return batch

    def replied(self, batch: Batch, reply: Reply) -> None:
        """Take the reply to a batch, and tell everybody what it says."""
        self.took(batch, reply)
        self.tell()

    def took(self, batch: Batch, reply: Reply) -> None:
        """Take the reply to a batch, so that the next one can go; `tell` has to come soon."""
        with self.lock:
            if self._under_way is None or self._under_way[0] is not batch:
                # The member was lost meanwhile; whoever asked is asking again.
                return
            requests, self._under_way = self._under_way[1], None
            self._offset_us = reply.now_us - self._elapsed_us()
            if reply.state == LOST:
                self.lose()
            if reply.state != APPLIED:
                self._try_again(reply, requests)
                requests = []
            else:
                self._known, self._heard_us, self._stale = True, self._sent_us, 0
            self._untold.append((requests, reply))

    def tell(self) -> None:
        """Tell those who asked what was answered."""
        while self._untold:
            with self.lock:
                if not self._untold:
                    return
                requests, reply = self._untold.popleft()
                self.applied_us = reply.now_us
                answers, start = reply.answers, 0
                for request in requests:
                    own = answers[start : start + request.count]
                    start += request.count
                    try:
                        (request.late if request.given_up else request.answered)(own)
                    except Exception as error:
                        # One answer that is not understood keeps no other from its asker.
                        fail(request, known_error(error))
            if self.member in reply.woken:
                self.woken()

    def tell_near(self) -> None:
        """Tell which limits came near by what was answered; where no lock is held."""
        if self.near is not None:
            self.near.tell()

    def _try_again(self, reply: Reply, requests: list[Asked]) -> None:
        """Send what was not applied again: under a new name, or by the calendar of the store."""
        self._stale = 0 if reply.state == LOST else self._stale + 1
        if self._stale > STALE_MAX:
            self._stale = 0
            error = StoreUnavailable("the store's clock and its calendar disagree")
            for request in requests:
                if not request.given_up:
                    fail(request, error)
            self._waiting.extendleft(r for r in reversed(requests) if r.must)
            return
        self._waiting.extendleft(r for r in reversed(requests) if not r.given_up)

    def given_up(self, error: TidegateError) -> None:
        """Tell everybody who waits for the store that it cannot be had. Outcome unknown.

        The batch under way stays so: its outcome will be asked for before anything else.
        """
        with self.lock:
            requests: list[Asked] = []
            kept: list[Asked] = []
            # Others may ask at this moment, so this deque stays the one they ask in.
            for _ in range(len(self._waiting)):
                request = self._waiting.popleft()
                (kept if request.must else requests).append(request)
            self._waiting.extendleft(reversed(kept))
            for request in self._under_way[1] if self._under_way is not None else ():
                if not request.given_up and not request.must:
                    request.given_up = True
                    requests.append(request)
            for request in requests:
                fail(request, error)
            self.unheard(error)

    def poisoned(self, batch: Batch, error: TidegateError) -> None:
        """Drop a batch that cannot be carried, or whose reply cannot be read, with its member.

        What it did, if anything, the store takes back with the member.
        """
        with self.lock:
            if self._under_way is None or self._under_way[0] is not batch:
                return
            requests, self._under_way = self._under_way[1], None
            for request in requests:
                if not request.given_up:
                    fail(request, error)
            self.lose()

    def lose(self) -> None:
        """Start anew under another name: the store has taken back, or will, what was held.

        Whether a batch of the old name was applied, and what it granted, is of no use any more.
        Of its requests those are made again that do no harm a second time; the others fail.
        """
        with self.lock:
            for lease in self.holdings.all():
                lease.known_as = lease.id
                self.holdings.drop(lease)
            self.member = self._name()
            self._known, self._seq = False, 0
            self.renamed(self.member)
            asked = [request for requests, _ in self._untold for request in requests]
            self._untold.clear()
            if self._under_way is not None:
                asked += self._under_way[1]
                self._under_way = None
            error = StoreUnavailable("the store has lost this process")
            for request in asked:
                if not request.again and not request.given_up:
                    fail(request, error)
            self._waiting.extendleft(r for r in reversed(asked) if r.again and not r.given_up)

    def alive(self, at_us: int) -> None:
        """Note that the store heard a sign of life that somebody else gave at `at_us`."""
        self._heard_us = max(self._heard_us, at_us)

    def must_be_lost(self, margin_us: int) -> bool:
        """Return whether the store may take back what is held before it hears of us again."""
        silent_us = self._elapsed_us() - self._heard_us
        return self._known and silent_us >= self.ttl_us - margin_us
