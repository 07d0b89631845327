"""How limits and refusals are told over HTTP: header fields, problem types, and when to return.

Pure, so that the service, the ASGI and WSGI middleware and the frameworks' faces all say the same.
The unit of `q` and `r` is the limit's own; no registered `qu` fits browsers or tokens.

Source: draft-ietf-httpapi-ratelimit-headers-11, sections 3 to 6; RFC 9651, section 4.1.6, for
strings; RFC 9457 for problem details; RFC 9110, section 10.2.3, for `Retry-After`.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from tidegate.domain.decision import Denied, LimitState, Reason

RETRY_AFTER_UNKNOWN_S = 5
RETRY_JITTER = 0.1
"""Clients that were refused together should not come back together."""

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
TITLES = {QUOTA_EXCEEDED: "Quota Exceeded", REDUCED_CAPACITY: "Temporary Reduced Capacity"}

STATUS: dict[Reason, int] = {
    "rate_limited": 429,
    "quota_exceeded": 429,
    "exhausted": 503,
    "memory_pressure": 503,
    "degraded": 503,
    "timeout": 503,
    "store_unavailable": 503,
    "suspended": 403,
}
"""The status of each refusal; 429 and 503 are what the draft recommends for its problem types."""

PROBLEM_TYPES: dict[str, str] = {
    reason: {429: QUOTA_EXCEEDED, 503: REDUCED_CAPACITY}[status]
    for reason, status in STATUS.items()
    if status in (429, 503)
}
"""The registered problem type of each refusal that time may heal."""

INTEGER_MAX = 10**15 - 1
"""The largest integer that a structured field can say. Source: RFC 9651, section 3.3.1."""

PARTITION_BYTES = 12


def limit_fields(states: Iterable[LimitState], *, partition_keys: bool = False) -> dict[str, str]:
    """Return `RateLimit` and `RateLimit-Policy`, or nothing where there is no limit to tell of.

    Shadows are not told of: nobody should slow down for them.

    Args:
        states: How the limits stand, the ones that the request was counted by.
        partition_keys: Also say `pk`, by which a client can tell one scope from another: the first
            12 bytes of the SHA-256 of the scope's values in UTF-8, with a zero byte between them.
    """
    listed = [
        (_string(state.name), _partition(state.scope) if partition_keys else "", state)
        for state in states
        if not state.shadow
    ]
    if not listed:
        return {}
    return {
        "RateLimit": ", ".join(f"{name}{_left(state)}{key}" for name, key, state in listed),
        "RateLimit-Policy": ", ".join(f"{name}{_size(state)}{key}" for name, key, state in listed),
    }


def legacy_fields(states: Iterable[LimitState]) -> dict[str, str]:
    """Return `X-RateLimit-Limit`, `-Remaining` and `-Reset` of the limit that is nearest its end.

    `-Reset` is in whole seconds from now, and left out for capacities.
    """
    told = (state for state in states if not state.shadow)
    nearest = min(told, key=lambda state: state.remaining / state.units, default=None)
    if nearest is None:
        return {}
    fields = {
        "X-RateLimit-Limit": str(nearest.units),
        "X-RateLimit-Remaining": str(nearest.remaining),
    }
    if nearest.reset_us is not None:
        fields["X-RateLimit-Reset"] = str(_whole_s(nearest.reset_us))
    return fields


def refusing(denied: Denied) -> list[LimitState]:
    """Return the denial's limits as its answer tells them, the one that refused first.

    That one has the wait as its reset. The others have none: `Retry-After` must not be earlier
    than any reset in the same answer, and theirs is not what the caller has to wait for.
    """
    told: list[LimitState] = []
    for state in denied.limits:
        if (state.name, state.scope) == (denied.limit, denied.scope):
            wait_us = denied.retry_after_us
            told.insert(0, replace(state, remaining=denied.remaining, reset_us=wait_us))
        else:
            told.append(replace(state, reset_us=None))
    return told


def refusal_fields(
    denied: Denied, *, spread: float = 0.0, legacy: bool = False, partition_keys: bool = False
) -> dict[str, str]:
    """Return the fields of the answer to a denial. One that no wait can heal has none.

    Args:
        denied: The denial; `limits` in it are told as well.
        spread: See `retry_after_s`.
        legacy: Also the three `X-RateLimit-` fields, of the limit that refused.
        partition_keys: See `limit_fields`.
    """
    if STATUS[denied.reason] == 403:
        return {}
    states = refusing(denied)
    fields = {"Retry-After": str(retry_after_s(denied.retry_after_us, spread=spread))}
    fields |= limit_fields(states, partition_keys=partition_keys)
    return fields | legacy_fields(states[:1]) if legacy else fields


def retry_after_s(wait_us: int | None, *, spread: float = 0.0) -> int:
    """Return whole seconds, at least 1 and never too short.

    Args:
        wait_us: The wait; None where nobody knows it.
        spread: 0..1, drawn anew for each answer: which part of the jitter comes on top.
    """
    if wait_us is None:
        return RETRY_AFTER_UNKNOWN_S
    return max(1, math.ceil(wait_us * (1 + RETRY_JITTER * spread) / 1e6))


def problem(denied: Denied) -> dict[str, Any]:
    """Return the problem details of a denial. `code` is stable and says more than the type."""
    kind = PROBLEM_TYPES.get(denied.reason)
    body: dict[str, Any] = {
        "type": kind or f"urn:tidegate:problem:{denied.reason}",
        "title": TITLES[kind] if kind else "Forbidden",
        "status": STATUS[denied.reason],
        "detail": denied.describe(),
        "code": denied.reason,
        "limit": denied.limit,
        "scope": list(denied.scope),
    }
    if kind:
        body["violated-policies"] = [policy_name(denied.limit)] if denied.limit else []
        body["remaining"] = denied.remaining
    if kind and denied.retry_after_us is not None:
        body["retry_after_s"] = denied.retry_after_us / 1e6
    return body


def policy_name(limit: str) -> str:
    """Return a limit's name as the fields have it: printable ASCII, all else percent-encoded."""
    return "".join(
        char
        if " " <= char <= "~"
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
        for char in limit
    )


def _string(limit: str) -> str:
    escaped = policy_name(limit).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _left(state: LimitState) -> str:
    left = f";r={min(max(0, state.remaining), INTEGER_MAX)}"
    return left if state.reset_us is None else f"{left};t={_whole_s(state.reset_us)}"


def _size(state: LimitState) -> str:
    size = f";q={min(state.units, INTEGER_MAX)}"
    # A window of no length cannot be told; one shorter than a second is told as one second.
    return size if state.window_us is None else f"{size};w={max(1, _whole_s(state.window_us))}"


def _partition(scope: tuple[str, ...]) -> str:
    if not scope:
        return ""
    digest = sha256("\0".join(scope).encode("utf-8", "surrogatepass")).digest()
    return f";pk=:{b64encode(digest[:PARTITION_BYTES]).decode()}:"


def _whole_s(span_us: int) -> int:
    return -(-span_us // 1_000_000)
