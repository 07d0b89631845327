"""Errors as they leave: RFC 9457 problem details with a stable code, and the right status.

The one place that knows which error is which HTTP status.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from tidegate.domain import rate_limit_fields
from tidegate.domain.decision import Denied, LimitState
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
    kind = rate_limit_fields.PROBLEM_TYPES.get(code)
    if kind:
        members.setdefault("violated-policies", [])
    body = {
        "type": kind or f"urn:tidegate:problem:{code}",
        "title": rate_limit_fields.TITLES[kind] if kind else _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    # What a caller sent may hold half a surrogate pair, which no UTF-8 can carry.
    text = msgspec.json.encode(_printable(body))
    return Response(text, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def problem_of(error: TidegateError, policy: Policy, now_us: int) -> Response:
    """Return the answer to an error that was raised on purpose."""
    if isinstance(error, AdmissionDenied):
        return denial(error.denied, policy, now_us)
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


def denial(denied: Denied, policy: Policy, now_us: int) -> Response:
    """Return the answer to a refused claim, with `Retry-After` and the rate limit fields."""
    if not denied.limits and denied.limit in policy:
        denied = replace(denied, limits=(_state(denied, policy, now_us),))
    body = rate_limit_fields.problem(denied)
    headers = rate_limit_fields.refusal_fields(denied, spread=_spread())
    status, code, detail = body.pop("status"), body.pop("code"), body.pop("detail")
    return problem(status, code, detail, headers=headers, **body)


def retry_after_s(wait_us: int | None) -> int:
    """Return whole seconds, at least 1, with up to a tenth of jitter on top."""
    return rate_limit_fields.retry_after_s(wait_us, spread=_spread())


def _spread() -> float:
    # Jitter needs no unpredictability, only spread.
    return random.random()  # noqa: S311


def _state(denied: Denied, policy: Policy, now_us: int) -> LimitState:
    """Say how the limit that refused stands, where the decision does not."""
    limit = policy.limit(denied.limit, denied.scope)
    rule = policy.rule(limit.name, denied.scope, now_us)
    return LimitState(
        name=limit.name,
        resource=limit.resource,
        scope=denied.scope,
        units=rule.units_max,
        remaining=denied.remaining,
        reset_us=denied.retry_after_us,
        window_us=rule.window_us,
    )


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value
