"""One governed piece of work, from admission to the committed usage row.

Order: an answer kept under the Idempotency-Key, the gate, the work under its cap, the release of
the slot, the usage row together with the answer; only then may the first byte leave.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from tidegate.domain.claim import Claim
from tidegate.domain.lease import Lease
from tidegate.domain.usage import StoredAnswer, UsageEntry, UsageOutcome
from tidegate.errors import (
    AdmissionDenied,
    BrowserUnavailable,
    DocumentUnreadable,
    EgressRefused,
    IdempotencyKeyReused,
    InvalidRequest,
    StoreUnavailable,
    UpstreamFailed,
    UpstreamRejected,
    WorkFailed,
    WorkTimeout,
)
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.metrics import Metrics
from tidegate.facades.operations import Operation, OperationTracker
from tidegate.ports.clock import Clock
from tidegate.ports.usage_ledger import UsageLedger

QUEUE_SPARES_PERCENT = 90
"""Work that has less than this much of its cap left when it starts did not have all of it."""

LARGE_BYTES = 2**20
"""Results from here on are encoded in a thread: twenty times as much takes 60 ms, during which
nobody else would be served."""


class Result(Protocol):
    """What work gives."""

    @property
    def size_bytes(self) -> int:
        """About how large the answer will be; told without looking through it."""
        ...


T = TypeVar("T", bound=Result)

_log = logging.getLogger(__name__)

ANSWER_MAX_BYTES = 32 * 2**20
"""Largest answer that is given: what the ledger keeps for a retry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer as it leaves. `replayed` says it is one that was given before."""

    status: int
    headers: dict[str, str]
    body: bytes
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done for whom.

    The queue counts against `cap_us`, and may use up half of it, unless `wait_us` gives it a time
    of its own: under overload, work that starts with nothing left would only fail later.
    `answer_key` is the caller's Idempotency-Key, `digest` what it was first used for.
    """

    operation: str
    claim: Claim
    request_id: str
    cap_us: int
    full_cap: bool = True
    wait_us: int | None = None
    answer_key: str | None = None
    digest: bytes = b""


_NOT_OURS = (
    BrowserUnavailable,
    asyncio.CancelledError,
    EgressRefused,
    UpstreamFailed,
    UpstreamRejected,
    DocumentUnreadable,
    InvalidRequest,
)
"""Ends that say nothing about how well the service is: what was asked for could not be had."""

Work = Callable[[int], Awaitable[T]]
"""Does the work within the microseconds it is given."""


class Workload:
    """Runs jobs through the gate and writes down what they used."""

    def __init__(
        self,
        gate: AdmissionGate,
        *,
        tracker: OperationTracker,
        ledger: UsageLedger,
        clock: Clock,
        metrics: Metrics,
        answers_kept_us: int,
    ) -> None:
        self._gate, self._tracker, self._ledger = gate, tracker, ledger
        self._clock, self._metrics = clock, metrics
        self._answers_kept_us = answers_kept_us
        self._turns: dict[tuple[str, str], _Turns] = {}
        self._recording: set[asyncio.Task[None]] = set()

    async def run(self, job: Job, work: Work[T], encode: Callable[[T, float], Reply]) -> Reply:
        """Admit the job, do the work, commit its usage, and return the answer.

        Args:
            job: What is to be done.
            work: Called once admitted.
            encode: Makes the answer of the result and the elapsed seconds.

        Raises:
            AdmissionDenied: refused; nothing was charged and nothing is recorded.
            IdempotencyKeyReused: the key was used for something else.
            WorkTimeout: the work outlived its cap.
            TidegateError: whatever the work raised; it is metered as failed.
        """
        if job.answer_key is None:
            return await self._execute(job, work, encode)
        name = (job.claim.tenant, job.answer_key)
        turns = self._turns.setdefault(name, _Turns())
        turns.users += 1
        try:
            # A retry that overtakes the first call waits for it instead of doing the work twice.
            async with turns.lock:
                self._check_open(job.claim.tenant)
                return await self._kept(job) or await self._execute(job, work, encode)
        finally:
            turns.users -= 1
            if not turns.users:
                del self._turns[name]

    async def stop(self) -> None:
        """Wait until the usage of calls that were given up is written."""
        if self._recording:
            await asyncio.wait(self._recording)

    async def _execute(self, job: Job, work: Work[T], encode: Callable[[T, float], Reply]) -> Reply:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        wait_us = job.cap_us // 2 if job.wait_us is None else job.wait_us
        hold = self._gate.hold(
            job.claim,
            timeout_s=wait_us / 1e6,
            capacities_only=True,
            holder=f"{job.operation} {job.request_id}",
        )
        admitted_s = None
        try:
            async with hold as lease:
                admitted_s = loop.time()
                queued_us = round((admitted_s - asked_s) * 1e6)
                self._metrics.queue_wait(queued_us)
                left_us = job.cap_us if job.wait_us is not None else job.cap_us - queued_us
                # What the queue used up, the work did not have: its time-out blames nobody.
                full_cap = job.full_cap and left_us >= job.cap_us * QUEUE_SPARES_PERCENT // 100
                operation = self._tracker.begin(job.operation, full_cap=full_cap)
                operation.holds(partial(_let_go, lease, full_cap))
                result = await self._work(job, operation, work, max(1, left_us))
            compute_us = round((loop.time() - admitted_s) * 1e6)
            reply = await _encoded(encode, result, loop.time() - asked_s)
            _check_size(reply)
            await self._record(job, "success", compute_us, reply)
        except AdmissionDenied:
            raise
        except BaseException:
            if admitted_s is not None:
                await self._record_failure(job, round((loop.time() - admitted_s) * 1e6))
            raise
        return reply

    def _check_open(self, tenant: str) -> None:
        """Refuse what the gate refuses whatever is asked for, an answer given before included."""
        denied = self._gate.precheck(Claim(tenant=tenant))
        if denied is not None:
            raise AdmissionDenied(denied)

    async def _work(self, job: Job, operation: Operation, work: Work[T], left_us: int) -> T:
        try:
            async with asyncio.timeout(left_us / 1e6):
                result = await work(left_us)
        except (TimeoutError, WorkTimeout):
            await self._tracker.cleanup_on_timeout(operation)
            raise WorkTimeout(job.operation, job.cap_us) from None
        except BaseException as error:
            # A dead address or a client that hung up is no fault of the service.
            asked_for = isinstance(error, _NOT_OURS)
            self._tracker.finish(operation, success=False, judged=not asked_for)
            raise
        self._tracker.finish(operation, success=True)
        return result

    async def _kept(self, job: Job) -> Reply | None:
        assert job.answer_key is not None
        now_us = self._clock.now_us()
        kept = await self._ledger.answer(job.claim.tenant, job.answer_key, now_us=now_us)
        if kept is None:
            return None
        if kept.digest != job.digest:
            raise IdempotencyKeyReused(
                "Idempotency-Key", job.answer_key, "a key that was not used for another request"
            )
        return Reply(status=kept.status, headers=kept.headers, body=kept.body, replayed=True)

    async def _record(
        self, job: Job, outcome: UsageOutcome, compute_us: int, reply: Reply | None
    ) -> None:
        now_us = self._clock.now_us()
        self._metrics.operation(job.operation, outcome, compute_us, job.claim.tenant)
        entry = UsageEntry(
            tenant=job.claim.tenant,
            source=job.operation,
            id=job.request_id,
            at_us=now_us,
            outcome=outcome,
            operations=1,
            data_bytes=len(reply.body) if reply else 0,
            compute_us=compute_us,
            taken=self._gate.quotas_taken(job.claim),
        )
        answer = None
        if reply is not None and job.answer_key is not None:
            answer = StoredAnswer(
                tenant=job.claim.tenant,
                key=job.answer_key,
                digest=job.digest,
                status=reply.status,
                headers=reply.headers,
                body=reply.body,
                expires_us=now_us + self._answers_kept_us,
            )
        await self._ledger.record(entry, answer)

    async def _record_failure(self, job: Job, compute_us: int) -> None:
        """Record even while the caller is being cancelled; `stop` waits for what is left."""
        task = asyncio.create_task(self._try_to_record(job, compute_us))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)
        await asyncio.shield(task)

    async def _try_to_record(self, job: Job, compute_us: int) -> None:
        try:
            await self._record(job, "failed", compute_us, None)
        except StoreUnavailable:
            # The caller is told what failed first; nothing was billed.
            _log.exception("a failed %s of %s is not metered", job.operation, job.claim.tenant)


@dataclass(slots=True)
class _Turns:
    """The calls that share one Idempotency-Key now."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


async def _encoded(encode: Callable[[T, float], Reply], result: T, elapsed_s: float) -> Reply:
    if result.size_bytes < LARGE_BYTES:
        return encode(result, elapsed_s)
    return await asyncio.to_thread(encode, result, elapsed_s)


def _check_size(reply: Reply) -> None:
    if len(reply.body) > ANSWER_MAX_BYTES:
        raise WorkFailed(f"the answer would be larger than {ANSWER_MAX_BYTES} bytes")


def _let_go(lease: Lease, full_cap: bool) -> None:
    # Who asked for less than the cap gave up by itself: adaptive limits must not learn from that.
    lease.release("timeout" if full_cap else "cancelled")
