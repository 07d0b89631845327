"""Our side: the limits and claims that are measured, and gates on whatever stores are built."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import tidegate.domain.admission
from admitting.table import Bar, NotMeasured
from tidegate import Capacity, Claim, Gate, Granted, Quota, RateLimit
from tidegate.domain.limit import Limit
from tidegate.errors import ExtraMissing, InvalidSetting

AMPLE = 10**9
"""Units that no measurement uses up."""

ONE_RATE = (RateLimit("requests", units=AMPLE, period_s=1, per=("tenant",)),)
SPENT_RATE = (RateLimit("requests", units=1, period_s=1000, per=("tenant",)),)
"""One unit, taken first; from then on every claim is refused."""
FOUR_LIMITS = (
    RateLimit("requests", units=AMPLE, period_s=1, per=("tenant",)),
    RateLimit("host_requests", units=AMPLE, period_s=1, per=("tenant", "host")),
    Quota("operations", units=AMPLE, period="month", per=("tenant",)),
    Capacity("browsers", units=AMPLE),
)
TAKE = {"requests": 1, "host_requests": 1, "operations": 1}
HOLD = {"browsers": 1}
COMPILED = str(tidegate.domain.admission.__file__).endswith(".so")


def must(
    *,
    at_least: tuple[float, float] | None = None,
    at_most: tuple[float, float] | None = None,
) -> Bar:
    """Return the bar of the form in use, of (interpreted, compiled)."""
    return Bar(
        at_least=None if at_least is None else at_least[COMPILED],
        at_most=None if at_most is None else at_most[COMPILED],
    )


def one_rate_claim(tenant: str = "acme") -> Claim:
    return Claim(tenant=tenant, take={"requests": 1})


def four_limits_claim(tenant: str = "acme", host: str = "example.com") -> Claim:
    return Claim(tenant=tenant, host=host, take=TAKE, hold=HOLD)


def open_gate(limits: Sequence[Limit], store: str = "memory://") -> Gate:
    """Return a gate on the store.

    Raises:
        NotMeasured: this version has no such store, or its client library is not installed.
    """
    try:
        return Gate(limits=limits, store=store)
    except InvalidSetting as refused:
        if refused.field != "store":
            raise
        raise NotMeasured("store not built") from refused
    except ExtraMissing as missing:
        raise NotMeasured(str(missing)) from missing


@asynccontextmanager
async def gate_on(limits: Sequence[Limit], store: str) -> AsyncIterator[Gate]:
    """Open a gate for a running loop and close it, whichever colour its closing has."""
    gate: Any = open_gate(limits, store)
    try:
        yield gate
    finally:
        closing = (gate.aclose if hasattr(gate, "aclose") else gate.close)()
        if inspect.isawaitable(closing):
            await closing


async def see_that_it_opens(store: str) -> None:
    """Raise NotMeasured where there is no such store yet."""
    async with gate_on(ONE_RATE, store):
        pass


def granted(decision: object) -> bool:
    return isinstance(decision, Granted)


def refused(decision: object) -> bool:
    return not isinstance(decision, Granted)


def all_granted(decision: object) -> None:
    """Check the last decision of a slice; an ample limit grants the last only if it grants all."""
    if not granted(decision):
        raise AssertionError(f"an ample limit refused: {decision}")


def all_refused(decision: object) -> None:
    if not refused(decision):
        raise AssertionError(f"a spent limit granted: {decision}")
