"""One member of a shared store: a session, its clerk, its queue, and whoever carries for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tidegate.domain.decision import Granted
from tidegate.domain.lease import Lease, LeaseRecord
from tidegate.domain.policy import Policy
from tidegate.facades.sharing.clerk import Clerk
from tidegate.facades.sharing.drivers import TICK_S, AsyncDriver, SyncDriver
from tidegate.facades.sharing.lanes import Lanes
from tidegate.facades.sharing.session import Session


class Member:
    """One session with its clerk, its queue and whoever carries for it."""

    def __init__(
        self,
        session: Session,
        policy: Policy,
        *,
        waiting_max: int,
        driver: AsyncDriver | SyncDriver,
    ) -> None:
        self.session, self.driver = session, driver
        self.clerk = Clerk(session, policy)
        self.be_carried_by(driver)
        self.lanes = Lanes(self.clerk, waiting_max=waiting_max)
        session.woken = self.poke
        session.unheard = self.lanes.fail

    def be_carried_by(self, driver: AsyncDriver | SyncDriver) -> None:
        """Let a driver carry from now on."""
        self.driver = driver
        flush = self.flush if isinstance(driver, SyncDriver) else _leave_it
        self.clerk.be_carried(driver.kick, flush)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, and nothing is to be said."""
        return not len(self.session.holdings) and not self.session.has_work

    @property
    def is_down(self) -> bool:
        """Whether the store cannot be had."""
        return self.driver.breaker.down

    def kick(self) -> None:
        """Get the wire going."""
        self.driver.kick()

    def poke(self) -> None:
        """Ask again for those who wait: somebody woke this member."""
        if len(self.lanes):
            self.lanes.poke()

    def set_policy(self, policy: Policy) -> None:
        """Put other limits in force."""
        self.clerk.set_policy(policy)

    def return_tokens(self) -> None:
        """Give back what was drawn for leased limits and not spent."""
        with self.session.lock:
            self.clerk.leasing.return_all()

    def tick(self) -> None:
        """Do what time has brought about."""
        self.clerk.expire()
        if self.clerk.leasing.is_used:
            with self.session.lock:
                self.clerk.leasing.tick()

    def carry(self) -> None:
        """Carry what was asked just now, where callers do that themselves and block no loop."""
        if isinstance(self.driver, SyncDriver) and not _runs_a_loop():
            self.driver.carry_next(wait_s=TICK_S)

    def flush(self) -> None:
        """Do what `carry` does for those who need no answer: they wait for nobody."""
        if isinstance(self.driver, SyncDriver) and not _runs_a_loop():
            self.driver.carry_next(wait_s=0)

    def watch(self, lease: Lease, lost: Callable[[], object]) -> None:
        """Call `lost` when the lease is lost; at once if it is already."""
        with self.session.lock:
            live = self.session.holdings.get(lease) is not None
            self.session.holdings.watch(lease, lambda: _tell(lost))
        if not live and lease.rows:
            _tell(lost)

    def leases(self) -> list[Granted]:
        """Return the live leases, oldest first."""
        self.clerk.expire()
        with self.session.lock:
            return self.session.holdings.all()

    def reclaim(self) -> list[LeaseRecord]:
        """Return what expired since the last call."""
        self.clerk.expire()
        with self.session.lock:
            expired = list(self.clerk.expired)
            self.clerk.expired.clear()
        self.carry()
        return expired


def _runs_a_loop() -> bool:
    """Whether an event loop runs in this thread: then the pulse carries."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _leave_it() -> None:
    """Carry nothing: a task does."""


def _tell(lost: Callable[[], object]) -> None:
    # The loop of a holder may have ended: then nobody is there to be told.
    with suppress(RuntimeError):
        lost()
