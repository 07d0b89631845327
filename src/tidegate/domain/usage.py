"""What was used: the rows of the ledger and their sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

UsageOutcome = Literal["success", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEntry:
    """One effect. (`tenant`, `source`, `id`) is unique: a replay is counted once.

    `operations` counts towards the tenant's operation count when the outcome is a success.
    `taken` maps each quota's resource to the units spent on it, so that quotas can be rebuilt.
    """

    tenant: str
    source: str
    id: str
    at_us: int
    outcome: UsageOutcome
    operations: int = 0
    data_bytes: int = 0
    compute_us: int = 0
    taken: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """Sums over the entries of one tenant in a period. Failed work counts only as failed."""

    operation_count: int = 0
    failed_count: int = 0
    data_bytes: int = 0
    compute_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """The answer given under an Idempotency-Key, kept so that a retry gets the same one.

    `digest` is over what was asked; another request under the same key is refused.
    """

    tenant: str
    key: str
    digest: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    expires_us: int
