"""The durable record of what was used, and of answers that a retry must get again."""

from __future__ import annotations

from typing import Protocol

from tidegate.domain.usage import StoredAnswer, UsageEntry, UsageTotals


class UsageLedger(Protocol):
    """One row per effect. What `record` acknowledged survives a crash of the process."""

    async def record(self, entry: UsageEntry, answer: StoredAnswer | None = None) -> bool:
        """Write the row, and the answer with it, in one durable step.

        A ledger may bound what it keeps of one tenant's answers; above it the row is written and
        the answer is not kept, so that a retry of its request is work of its own.

        Returns:
            False if a row with the same tenant, source and id was there; then nothing changes.

        Raises:
            StoreUnavailable: the disk is full or broken; nothing was written.
        """
        ...

    async def answer(self, tenant: str, key: str, *, now_us: int) -> StoredAnswer | None:
        """Return the unexpired answer under this Idempotency-Key, if there is one."""
        ...

    async def totals(self, tenant: str, *, since_us: int, until_us: int) -> UsageTotals:
        """Sum the entries with `since_us <= at_us < until_us`."""
        ...

    async def taken(self, *, since_us: int) -> dict[tuple[str, str], int]:
        """Sum what was taken since, by (tenant, quota resource). Failed work counts too."""
        ...

    async def prove(self) -> None:
        """Write something that changes nothing, as durably as any row.

        Raises:
            StoreUnavailable: nothing can be written now.
        """
        ...

    async def sweep(self, *, now_us: int) -> int:
        """Delete expired answers; return how many."""
        ...
