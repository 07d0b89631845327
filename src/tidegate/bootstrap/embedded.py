"""The gate as a library: everything in this process."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from tidegate.domain.limit import Limit
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidSetting
from tidegate.facades.gate import WAITERS_MAX, AdmissionGate, Precheck
from tidegate.ports.clock import Clock


class Gate(AdmissionGate):
    """A gate over `limits`, embedded in this process: no server, no file.

    Args:
        limits: Rates, quotas and capacities; at most one of a name.
        store: Where levels are kept. `memory://` is this process alone.
        clock: The time, for tests.
        precheck: Asked before any limit; a `Denied` closes the gate for that claim.
        waiters_max: Claims that may wait at once; one more is refused at once.

    Raises:
        InvalidLimit: a limit that cannot be kept, naming the field.
        InvalidSetting: a store that this version does not offer.
    """

    def __init__(
        self,
        limits: Iterable[Limit] = (),
        *,
        store: str = "memory://",
        clock: Clock | None = None,
        precheck: Precheck | None = None,
        waiters_max: int = WAITERS_MAX,
    ) -> None:
        from tidegate.adapters.memory.admission_store import MemoryAdmissionStore
        from tidegate.adapters.system.clock import SystemClock

        check_store_url("store", store)
        clock = clock or SystemClock()
        memory = MemoryAdmissionStore(
            now_us=clock.now_us, lease_prefix=f"{secrets.token_urlsafe(6)}-"
        )
        super().__init__(
            Policy(limits),
            store=memory,
            inspect=memory,
            clock=clock,
            precheck=precheck,
            waiters_max=waiters_max,
        )


def check_store_url(field: str, url: str) -> None:
    """Refuse a store that would have to be shared.

    Raises:
        InvalidSetting: anything but `memory://`.
    """
    if url not in ("", "memory://"):
        raise InvalidSetting(
            field,
            url.split("://", 1)[0] + "://…",
            "memory:// — stores that several processes share are not built yet",
        )
