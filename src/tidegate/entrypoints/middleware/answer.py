"""Refusals as whole HTTP answers, which each protocol and framework then says in its own words."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.domain import rate_limit_fields
from tidegate.domain.decision import Denied, LimitState
from tidegate.errors import InvalidRequest

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which fields answers carry besides `RateLimit` and `RateLimit-Policy`.

    `legacy` adds the three `X-RateLimit-` fields, `partition_keys` the parameter `pk`.
    """

    legacy: bool = False
    partition_keys: bool = False

    def told(self, states: Sequence[LimitState]) -> dict[str, str]:
        """Return what the answer to a granted claim says of its limits."""
        told = rate_limit_fields.limit_fields(states, partition_keys=self.partition_keys)
        return told | rate_limit_fields.legacy_fields(states) if self.legacy else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Problem details with their status and header fields. Header fields and body are ASCII."""

    status: int
    fields: dict[str, str]
    problem: dict[str, Any]

    @property
    def body(self) -> bytes:
        """The problem details as JSON."""
        # Escaped, for what a caller sent may hold half a surrogate pair.
        return json.dumps(self.problem).encode()

    @property
    def headers(self) -> dict[str, str]:
        """Every header field of the answer."""
        return {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(self.body)),
            **self.fields,
        }

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The same as ASGI wants them."""
        return raw(self.headers)


def refusal(denied: Denied, fields: Fields) -> Answer:
    """Return the answer to a refused claim."""
    # Jitter needs no unpredictability, only spread.
    told = rate_limit_fields.refusal_fields(
        denied,
        spread=random.random(),  # noqa: S311
        legacy=fields.legacy,
        partition_keys=fields.partition_keys,
    )
    problem = rate_limit_fields.problem(denied)
    return Answer(status=problem["status"], fields=told, problem=problem)


def invalid(error: InvalidRequest) -> Answer:
    """Return the answer to a request that makes no claim that could be judged."""
    problem = {
        "type": f"urn:tidegate:problem:{error.code}",
        "title": "Not acceptable as it is",
        "status": 422,
        "detail": str(error),
        "code": error.code,
        "errors": [{"field": error.field, "message": f"allowed {error.allowed}"}],
    }
    return Answer(status=422, fields={}, problem=problem)


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Return header fields as ASGI wants them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
