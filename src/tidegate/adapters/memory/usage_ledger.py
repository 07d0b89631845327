"""The usage ledger within one process: for tests, and for those who bill elsewhere."""

from __future__ import annotations

from collections import Counter

from tidegate.domain.usage import StoredAnswer, UsageEntry, UsageTotals
from tidegate.errors import InvalidRequest, StoreUnavailable

BODY_MAX_BYTES = 32 * 2**20


class MemoryUsageLedger:
    """`UsageLedger` that a restart empties.

    A full ledger refuses work instead of forgetting rows: forgotten usage would be free.

    Args:
        entries_max: Rows kept.
        answers_max_bytes: Bodies of answers kept, together.
    """

    def __init__(
        self, *, entries_max: int = 1_000_000, answers_max_bytes: int = 256 * 2**20
    ) -> None:
        self._entries_max, self._answers_max_bytes = entries_max, answers_max_bytes
        self._entries: dict[tuple[str, str, str], UsageEntry] = {}
        self._answers: dict[tuple[str, str], StoredAnswer] = {}
        self._answers_bytes = 0

    async def record(self, entry: UsageEntry, answer: StoredAnswer | None = None) -> bool:
        """Write the row, and the answer with it, in one step.

        Raises:
            InvalidRequest: the answer's body is larger than `BODY_MAX_BYTES`.
            StoreUnavailable: the ledger is full; nothing was written.
        """
        size_bytes = len(answer.body) if answer else 0
        if size_bytes > BODY_MAX_BYTES:
            raise InvalidRequest("answer.body", f"{size_bytes} bytes", f"<= {BODY_MAX_BYTES} bytes")
        key = (entry.tenant, entry.source, entry.id)
        if key in self._entries:
            return False
        if len(self._entries) >= self._entries_max:
            raise StoreUnavailable(f"the ledger in memory is full: {self._entries_max} rows")
        if answer is not None:
            self._add_answer(answer, at_us=entry.at_us)
        self._entries[key] = entry
        return True

    async def answer(self, tenant: str, key: str, *, now_us: int) -> StoredAnswer | None:
        """Return the unexpired answer under this Idempotency-Key, if there is one."""
        answer = self._answers.get((tenant, key))
        return answer if answer is not None and answer.expires_us > now_us else None

    async def totals(self, tenant: str, *, since_us: int, until_us: int) -> UsageTotals:
        """Sum the entries with `since_us <= at_us < until_us`."""
        entries = [
            entry
            for entry in self._entries.values()
            if entry.tenant == tenant and since_us <= entry.at_us < until_us
        ]
        done = [entry for entry in entries if entry.outcome == "success"]
        return UsageTotals(
            operation_count=sum(entry.operations for entry in done),
            failed_count=len(entries) - len(done),
            data_bytes=sum(entry.data_bytes for entry in done),
            compute_us=sum(entry.compute_us for entry in done),
        )

    async def taken(self, *, since_us: int) -> dict[tuple[str, str], int]:
        """Sum what was taken since, by (tenant, quota resource)."""
        taken: Counter[tuple[str, str]] = Counter()
        for entry in self._entries.values():
            if entry.at_us >= since_us:
                for resource, units in entry.taken.items():
                    taken[entry.tenant, resource] += units
        return dict(taken)

    async def prove(self) -> None:
        """See `UsageLedger.prove`: memory can be written."""

    async def sweep(self, *, now_us: int) -> int:
        """Delete expired answers; return how many."""
        expired = [key for key, kept in self._answers.items() if kept.expires_us <= now_us]
        for key in expired:
            self._answers_bytes -= len(self._answers.pop(key).body)
        return len(expired)

    def _add_answer(self, answer: StoredAnswer, *, at_us: int) -> None:
        # An answer that still counts stays: the retries of its request must all get the same one.
        key = (answer.tenant, answer.key)
        old = self._answers.get(key)
        if old is not None and old.expires_us > at_us:
            return
        kept_bytes = self._answers_bytes - (len(old.body) if old else 0) + len(answer.body)
        if kept_bytes > self._answers_max_bytes:
            raise StoreUnavailable(f"answers in memory are full: {self._answers_max_bytes} bytes")
        self._answers[key], self._answers_bytes = answer, kept_bytes
