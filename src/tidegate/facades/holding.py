"""Guards: hold a claim while a body runs, renew its lease, and give it back however that ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import Protocol

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Granted
from tidegate.domain.lease import Lease, Outcome
from tidegate.errors import LeaseLost, WorkTimeout
from tidegate.facades.turn import AnyTurn, HoldTerms


class Holder(Protocol):
    """The gate, as guards know it."""

    @property
    def renewals(self) -> Renewals:
        """The renewals of guards in threads."""
        ...

    def turn(
        self, claim: Claim, terms: HoldTerms, wake: Callable[[], object], now_s: float
    ) -> AnyTurn:
        """Return the turn of a claim, already asked for."""
        ...

    def renew(self, lease_id: str, *, lease_s: float) -> int:
        """Move a lease's expiry. Raises LeaseLost."""
        ...

    def watch(self, lease: Lease, lost: Callable[[], object]) -> None:
        """Call `lost`, from any thread, when the lease is lost although nobody gave it back."""
        ...

    def elapsed_s(self) -> float:
        """Return seconds since some fixed moment."""
        ...


class AsyncHold:
    """`async with` around work that holds a claim. Made by `AdmissionGate.hold`; used once."""

    def __init__(self, gate: Holder, claim: Claim, terms: HoldTerms) -> None:
        self._gate, self._claim, self._terms = gate, claim, terms
        self._renewal: asyncio.TimerHandle | None = None
        self._lost = self._left = False

    async def __aenter__(self) -> Granted:
        granted = await wait_for_grant(self._gate, self._claim, self._terms)
        self._lease = granted
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        loop = asyncio.get_running_loop()
        if granted.can_be_lost:
            self._gate.watch(granted, lambda: loop.call_soon_threadsafe(self._lose))
            self._arm(loop)
        return granted

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left = True
        if self._renewal is not None:
            self._renewal.cancel()
        self._lease.release(outcome_of(kind))
        if self._lost:
            ours = self._task.uncancel() <= self._cancelling
            if kind is None:
                # The body ended before our cancellation reached it: take that back.
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            if kind is None or (ours and issubclass(kind, asyncio.CancelledError)):
                raise LeaseLost(self._lease.id) from error

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._renewal = loop.call_later(self._terms.lease_s / 3, self._renew, loop)

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._gate.renew(self._lease.id, lease_s=self._terms.lease_s)
        except LeaseLost:
            self._lose()
        else:
            self._arm(loop)

    def _lose(self) -> None:
        if not self._lost and not self._left:
            self._lost = True
            self._task.cancel()


async def wait_for_grant(gate: Holder, claim: Claim, terms: HoldTerms) -> Granted:
    """Wait for a claim without a guard: the caller releases or renews the lease.

    Raises:
        AdmissionDenied: refused, or the wait was in vain.
    """
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    turn = gate.turn(claim, terms, lambda: loop.call_soon_threadsafe(event.set), loop.time())
    try:
        while (wait_s := turn.poll(loop.time())) is not None:
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that meets the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait_s == inf else wait_s):
                    await event.wait()
            event.clear()
    except BaseException:
        turn.abandon()
        raise
    return turn.result()


class SyncHold:
    """`with` around work that holds a claim. Made by `AdmissionGate.hold_sync`; used once."""

    def __init__(self, gate: Holder, claim: Claim, terms: HoldTerms) -> None:
        self._gate, self._claim, self._terms = gate, claim, terms

    def __enter__(self) -> Granted:
        event = threading.Event()
        now_s = self._gate.elapsed_s
        turn = self._gate.turn(self._claim, self._terms, event.set, now_s())
        try:
            while (wait_s := turn.poll(now_s())) is not None:
                event.wait(None if wait_s == inf else wait_s)
                event.clear()
        except BaseException:
            turn.abandon()
            raise
        self._lease = turn.result()
        if self._lease.can_be_lost:
            self._gate.renewals.keep(self._lease.id, self._terms.lease_s)
        return self._lease

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lost = self._gate.renewals.forget(self._lease.id)
        self._lease.release(outcome_of(kind))
        if lost and kind is None:
            raise LeaseLost(self._lease.id)


class Renewals:
    """One helper thread that renews the leases of bodies running in threads.

    Started with the first guard; ended by `close`. It looks at live leases only, and is woken only
    for one that is due before it would look again.
    """

    def __init__(self, renew: Callable[[str, int], int], *, elapsed_s: Callable[[], float]) -> None:
        self._renew, self._elapsed_s = renew, elapsed_s
        self._kept: dict[str, tuple[float, float]] = {}
        self._lost: set[str] = set()
        self._changed = threading.Condition()
        self._look_s = inf
        self._thread: threading.Thread | None = None
        self._closed = False

    def keep(self, lease_id: str, lease_s: float) -> None:
        """Renew the lease at each third of `lease_s` from now on."""
        due_s = self._elapsed_s() + lease_s / 3
        with self._changed:
            self._kept[lease_id] = (due_s, lease_s)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._run, name="tidegate-renewals", daemon=True
                )
                self._thread.start()
            if due_s < self._look_s:
                self._changed.notify()

    def forget(self, lease_id: str) -> bool:
        """Stop renewing the lease; say whether it was lost meanwhile."""
        with self._changed:
            self._kept.pop(lease_id, None)
            lost = lease_id in self._lost
            self._lost.discard(lease_id)
            return lost

    def close(self) -> None:
        """End the thread. Leases that are still kept run out by themselves."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now_s = self._elapsed_s()
                for lease_id, (due_s, lease_s) in list(self._kept.items()):
                    if due_s <= now_s:
                        self._renew_one(lease_id, lease_s, now_s)
                self._look_s = min((due_s for due_s, _ in self._kept.values()), default=inf)
                self._changed.wait(None if self._look_s == inf else self._look_s - now_s)

    def _renew_one(self, lease_id: str, lease_s: float, now_s: float) -> None:
        try:
            self._renew(lease_id, round(lease_s * 1e6))
        except LeaseLost:
            del self._kept[lease_id]
            self._lost.add(lease_id)
        else:
            self._kept[lease_id] = (now_s + lease_s / 3, lease_s)


def outcome_of(kind: type[BaseException] | None) -> Outcome:
    """Return how work ended that left its guard with an exception of this kind."""
    if kind is None:
        return "success"
    if issubclass(kind, asyncio.CancelledError):
        return "cancelled"
    return "timeout" if issubclass(kind, TimeoutError | WorkTimeout) else "failed"
