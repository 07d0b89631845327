"""The members of this process: one for each event loop, one for all threads, and their pulse.

A pulse thread looks after all of them: it gives signs of life, also for a loop that is blocked,
gives back what has expired, and tells holders in time that the store is about to forget them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import get_ident

from tidegate.domain.batch import LOST, Batch
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied
from tidegate.domain.lease import lease_us_of
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidClaim, StoreUnavailable, TidegateError
from tidegate.facades.sharing import forks
from tidegate.facades.sharing.drivers import TICK_S, AsyncDriver, Breaker, SyncDriver
from tidegate.facades.sharing.member import Member
from tidegate.facades.sharing.session import Session
from tidegate.ports.admission_store import AdmissionStore
from tidegate.ports.shared_store import BlockingStore, SharedStore

_log = logging.getLogger(__name__)

_CLOSED = StoreUnavailable("this gate was closed")


class Members:
    """Every member of this process.

    A process that was forked off begins anew: what the parent holds is the parent's.

    Args:
        policy: The limits in force at first.
        local: Decides while the store is down, by what the limits say for that time.
        without: Returns what the limits say for that time.
        open_shared: Opens a store for the loop that runs.
        open_blocking: Opens a store for threads.
        make_session: Makes a session under a fresh name.
        make_breaker: Makes a breaker.
        waiting_max: Claims of one member that may wait at once.
        pulse: Whether there is a pulse; conformance suites move time themselves.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        local: AdmissionStore,
        without: Callable[[Policy], Policy],
        open_shared: Callable[[], SharedStore],
        open_blocking: Callable[[], BlockingStore],
        make_session: Callable[[], Session],
        make_breaker: Callable[[], Breaker],
        waiting_max: int,
        pulse: bool = True,
    ) -> None:
        self.policy = policy
        self._local, self._without = local, without
        self._open_shared, self._open_blocking = open_shared, open_blocking
        self._make_session, self._make_breaker = make_session, make_breaker
        self._waiting_max = waiting_max
        self._has_pulse, self._closed = pulse, False
        self._begin()
        forks.watch(self._begin)

    def _begin(self) -> None:
        """Begin with no member: at the start, and in a process that was forked off."""
        self._by_loop: dict[asyncio.AbstractEventLoop, Member] = {}
        self._last: tuple[asyncio.AbstractEventLoop, Member] | None = None
        self._threads: Member | None = None
        self._orphans: list[Member] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._pulse: threading.Thread | None = None
        self._life: BlockingStore | None = None

    def all(self) -> list[Member]:
        """Return every member."""
        with self._lock:
            threads = [self._threads] if self._threads else []
            return [*self._by_loop.values(), *threads, *self._orphans]

    @property
    def is_down(self) -> bool:
        """Whether some member cannot reach the store."""
        return any(member.is_down for member in self.all())

    @property
    def outages(self) -> int:
        """How often a member lost the store."""
        return sum(member.driver.breaker.outages for member in self.all())

    def here(self) -> tuple[asyncio.AbstractEventLoop, Member]:
        """Return the running loop, and its member."""
        last = self._last
        # A loop of asyncio knows in which thread it runs. To ask which one runs in this thread
        # costs a call of the system before Python 3.12, a twentieth of a claim.
        if last is not None and getattr(last[0], "_thread_id", 0) == get_ident():
            return last
        loop = asyncio.get_running_loop()
        member = self._by_loop.get(loop)
        if member is None:
            self._check_open()
            session, store = self._make_session(), self._open_shared()
            driver = AsyncDriver(session, store, self._make_breaker())
            member = Member(session, self.policy, waiting_max=self._waiting_max, driver=driver)
            store.listen(session.member, member.poke)
            session.renamed = partial(_listen_again, loop, store, member)
            with self._lock:
                self._by_loop[loop] = member
            self._beat()
        self._last = (loop, member)
        return self._last

    def of_threads(self) -> Member:
        """Return the member of all threads."""
        self._check_open()
        with self._lock:
            if self._threads is None:
                session = self._make_session()
                driver = SyncDriver(session, self._open_blocking(), self._make_breaker())
                self._threads = Member(
                    session, self.policy, waiting_max=self._waiting_max, driver=driver
                )
            member = self._threads
        self._beat()
        return member

    def present(self) -> Member | None:
        """Return the member of here, if there is one yet."""
        try:
            return self._by_loop.get(asyncio.get_running_loop())
        except RuntimeError:
            return self._threads

    def current(self) -> Member:
        """Return the member of the running loop, or that of the threads where none runs."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.of_threads()
        return self.here()[1]

    def of(self, lease_id: str) -> Member | None:
        """Return the member that has this lease."""
        for member in self.all():
            if member.session.holdings.find(lease_id) is not None:
                return member
        return None

    def set_policy(self, policy: Policy) -> None:
        """Put other limits in force, for those who wait, too."""
        self.policy = policy
        self._local.bind(self._without(policy))
        for member in self.all():
            member.set_policy(policy)
            member.poke()
            member.kick()

    def without_store(self, claim: Claim, lease_s: float, holder: str, report: bool) -> Decision:
        """Decide while the store is down, as each limit says."""
        del report  # How limits stand, nobody can say now.
        for resource in (*claim.take, *claim.hold):
            for limit in self.policy.limits_on(resource):
                if limit.when_down == "closed":
                    return Denied("store_unavailable", limit.name)
        try:
            return self._local.admit(claim, lease_us_of(lease_s), holder)
        except InvalidClaim:
            # More than this process's share can ever grant.
            return Denied("store_unavailable")

    async def aclose(self) -> None:
        """Let go of the store for the running loop."""
        with self._lock:
            member = self._by_loop.pop(asyncio.get_running_loop(), None)
            self._last = None
        if member is not None:
            assert isinstance(member.driver, AsyncDriver)
            member.lanes.fail(_CLOSED)
            member.return_tokens()
            await member.driver.close(member.clerk)

    def close(self) -> None:
        """Let go of the store for threads, and stop the pulse. From now on nobody is admitted."""
        self._closed = True
        self._stopped.set()
        if self._pulse is not None:
            self._pulse.join()
        if self._threads is not None:
            assert isinstance(self._threads.driver, SyncDriver)
            self._threads.lanes.fail(_CLOSED)
            self._threads.return_tokens()
            self._threads.driver.close(self._threads.clerk)
        for orphan in self._orphans:
            assert isinstance(orphan.driver, SyncDriver)
            orphan.driver.close(orphan.clerk)
        if self._life is not None:
            self._life.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this gate was closed")

    def _beat(self) -> None:
        with self._lock:
            if self._pulse is None and self._has_pulse and not self._stopped.is_set():
                self._pulse = threading.Thread(target=self._run, name="tidegate-pulse", daemon=True)
                self._pulse.start()

    def _run(self) -> None:
        while not self._stopped.wait(TICK_S):
            try:
                self._look_for_orphans()
            except TidegateError:
                _log.debug("no store for loops that have ended", exc_info=True)
            for member in self.all():
                try:
                    self._look_after(member)
                except TidegateError:
                    _log.debug("the store gave no sign", exc_info=True)
                except Exception:
                    # Without its pulse this process would lose all its leases, whatever broke this.
                    _log.exception("looking after a member failed")

    def _look_for_orphans(self) -> None:
        """Carry for loops that have ended, until nothing is held there and all has been said."""
        with self._lock:
            ended = [loop for loop in self._by_loop if loop.is_closed()]
            found = [self._by_loop.pop(loop) for loop in ended]
            idle = [orphan for orphan in self._orphans if orphan.is_idle]
            self._orphans = [orphan for orphan in self._orphans if orphan not in idle]
            for member in found:
                store, breaker = self._open_blocking(), member.driver.breaker
                member.be_carried_by(SyncDriver(member.session, store, breaker))
            self._orphans += found
        for orphan in idle:
            assert isinstance(orphan.driver, SyncDriver)
            orphan.driver.close(orphan.clerk)

    def _look_after(self, member: Member) -> None:
        session = member.session
        # A third of the time is left then: the store has not taken anything back yet.
        if session.must_be_lost(session.ttl_us // 3):
            session.lose()
        member.tick()
        if isinstance(member.driver, SyncDriver):
            if session.has_work or session.is_quiet or member.is_down:
                member.driver.pulse()
            member.poke()
            return
        if session.has_work or session.is_quiet or member.is_down:
            member.kick()
        if session.must_be_lost(session.ttl_us // 2):
            self._give_sign(session)

    def _give_sign(self, session: Session) -> None:
        """Speak for a loop that does not, because something blocks it."""
        name, at_us = session.member, session.elapsed_us()
        try:
            if self._life is None:
                self._life = self._open_blocking()
                self._life.connect()
            reply = self._life.apply(Batch(name, 0, session.ttl_us, False, 0, (), (), ()))
        except TidegateError:
            # The next sign is given over a new connection.
            if self._life is not None:
                self._life.close()
            self._life = None
            raise
        with session.lock:
            if session.member != name:
                return
            if reply.state == LOST:
                session.lose()
            else:
                session.alive(at_us)


def _listen_again(
    loop: asyncio.AbstractEventLoop, store: SharedStore, member: Member, name: str
) -> None:
    # The loop may have ended: then nobody waits there.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(store.listen, name, member.poke)
