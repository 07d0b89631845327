"""Errors as they leave: RFC 9457 problem details with a stable code, and the right status.

The one place that knows which error is which HTTP status.
"""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
from starlette.responses import Response

from tidegate.domain.decision import Denied
from tidegate.domain.limit import Capacity, RateLimit
from tidegate.domain.period import windows
from tidegate.domain.policy import Policy
from tidegate.errors import (
    AccessRefused,
    AdmissionDenied,
    BrowserUnavailable,
    Conflict,
    DocumentUnreadable,
    EgressRefused,
    Forbidden,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    TenantRequired,
    TidegateError,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    WorkerCrashed,
    WorkFailed,
    WorkTimeout,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_UNKNOWN_S = 5
RETRY_JITTER = 0.1
"""Clients that were refused together should not come back together."""

_STATUS: list[tuple[type[TidegateError], int]] = [
    (TenantRequired, 400),
    (IdempotencyKeyReused, 422),
    (InvalidRequest, 422),
    (Forbidden, 403),
    (AccessRefused, 401),
    (NotFound, 404),
    (Conflict, 409),
    (WorkTimeout, 504),
    (WorkerCrashed, 502),
    (EgressRefused, 403),
    (UpstreamFailed, 502),
    (UpstreamRejected, 502),
    (DocumentUnreadable, 422),
    (WorkFailed, 502),
    (BrowserUnavailable, 503),
    (Unavailable, 503),
    (TidegateError, 500),
]
_DENIED_STATUS = {
    "rate_limited": 429,
    "quota_exceeded": 429,
    "exhausted": 503,
    "memory_pressure": 503,
    "degraded": 503,
    "timeout": 503,
    "store_unavailable": 503,
    "suspended": 403,
}
_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    408: "Too slow",
    413: "Too large",
    415: "Unsupported media type",
    422: "Not acceptable as it is",
    429: "Too many requests",
    431: "Head too large",
    500: "Internal error",
    502: "The work failed",
    503: "Not available now",
    504: "The work took too long",
}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return a problem details answer; `members` are added to the standard ones."""
    body = {
        "type": f"urn:tidegate:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    # What a caller sent may hold half a surrogate pair, which no UTF-8 can carry.
    text = msgspec.json.encode(_printable(body))
    return Response(text, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def problem_of(error: TidegateError, policy: Policy, tenant: str, now_us: int) -> Response:
    """Return the answer to an error that was raised on purpose."""
    if isinstance(error, AdmissionDenied):
        return denial(error.denied, policy, tenant, now_us)
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    if isinstance(error, InvalidRequest):
        members["errors"] = [{"field": error.field, "message": f"allowed {error.allowed}"}]
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="tidegate"'
    if status == 503 or isinstance(error, WorkerCrashed):
        headers["Retry-After"] = str(retry_after_s(None))
    return problem(status, error.code, str(error), headers=headers, **members)


def denial(denied: Denied, policy: Policy, tenant: str, now_us: int) -> Response:
    """Return the answer to a refused claim, with `Retry-After` and the rate limit fields."""
    status = _DENIED_STATUS[denied.reason]
    headers: dict[str, str] = {}
    members: dict[str, Any] = {"limit": denied.limit, "scope": list(denied.scope)}
    if status != 403:
        headers["Retry-After"] = str(retry_after_s(denied.retry_after_us))
        members["remaining"] = denied.remaining
        if denied.retry_after_us is not None:
            members["retry_after_s"] = denied.retry_after_us / 1e6
    if any(limit.name == denied.limit for limit in policy.limits):
        headers |= rate_limit_fields(denied, policy, tenant, now_us)
    return problem(status, denied.reason, denied.describe(), headers=headers, **members)


def retry_after_s(wait_us: int | None) -> int:
    """Return whole seconds, at least 1, with up to a tenth of jitter on top."""
    if wait_us is None:
        return RETRY_AFTER_UNKNOWN_S
    # Jitter needs no unpredictability, only spread.
    return max(1, math.ceil(wait_us / 1e6 * (1 + RETRY_JITTER * random.random())))  # noqa: S311


def rate_limit_fields(denied: Denied, policy: Policy, tenant: str, now_us: int) -> dict[str, str]:
    """Return `RateLimit` and `RateLimit-Policy` for the limit that refused.

    Source: draft-ietf-httpapi-ratelimit-headers, sections 3 and 4.
    """
    limit = policy.limit(denied.limit, tenant)
    state = f'"{limit.name}";r={denied.remaining}'
    if denied.retry_after_us is not None:
        state += f";t={math.ceil(denied.retry_after_us / 1e6)}"
    if isinstance(limit, Capacity):
        stated = f'"{limit.name}";q={limit.units}'
    elif isinstance(limit, RateLimit):
        window_s = math.ceil(limit.rate.refill_us / 1e6)
        stated = f'"{limit.name}";q={limit.rate.burst};w={window_s}'
    else:
        start_us, end_us, _ = windows(limit.period, now_us)
        stated = f'"{limit.name}";q={limit.units};w={(end_us - start_us) // 1_000_000}'
    return {"RateLimit": state, "RateLimit-Policy": stated}


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value
