"""One request of a log: who asked for what, when, and for how long it was held.

Every format of a log comes down to an `Entry`, whose types are the check of what people wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from tidegate.domain.claim import PRIORITY_DEFAULT, Claim
from tidegate.errors import InvalidRequest

TEXT_MAX = 2_000
NOBODY = "-"
"""The tenant of a line that says nothing where `tenant_from` looks; web servers write the same."""

# The year 3000. Later ones are milliseconds that were taken for seconds.
_AT_MAX_S = 32_503_680_000 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_NUMBER = re.compile(r"\d{1,12}(\.\d{0,12})?")

Amount = Annotated[int, Meta(ge=1, lt=2**53)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A claim at an instant. What it holds is given back `held_us` after it was granted."""

    at_us: int
    claim: Claim
    held_us: int = 0


class Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A line as people write it. `at` is RFC 3339, or seconds since any fixed moment."""

    at: int | float | str
    tenant: Name = "default"
    take: dict[Name, Amount] = {}
    hold: dict[Name, Amount] = {}
    held_s: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    host: Text | None = None
    user: Text | None = None
    route: Text | None = None
    attributes: dict[Name, Text] = {}
    priority: Annotated[int, Meta(ge=0, le=1000)] = PRIORITY_DEFAULT


FIELDS = frozenset(Entry.__struct_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsaid:
    """What holds where a line does not say.

    `take` and `hold` are for lines with neither, `held_us` for those that hold and do not say how
    long; None makes such a line a broken one. `tenant_from` names the field that is the tenant.
    """

    take: dict[str, int] = field(default_factory=lambda: {"requests": 1})
    hold: dict[str, int] = field(default_factory=dict)
    held_us: int | None = None
    tenant_from: str | None = None

    def __post_init__(self) -> None:
        """Refuse holds without an end."""
        if self.hold and self.held_us is None:
            raise InvalidRequest("held", None, "how many seconds a hold lasts")

    def request(self, entry: Entry) -> Request:
        """Return the request.

        Raises:
            InvalidRequest: naming the field that is wrong or missing.
        """
        said = entry.take or entry.hold
        take, hold = (entry.take, entry.hold) if said else (self.take, self.hold)
        held_us = self.held_us if entry.held_s is None else round(entry.held_s * 1e6)
        if hold and held_us is None:
            raise InvalidRequest("held_s", None, "how many seconds it was held")
        claim = Claim(
            tenant=entry.tenant,
            take=take,
            hold=hold,
            host=entry.host,
            user=entry.user,
            route=entry.route,
            attributes=entry.attributes,
            priority=entry.priority,
        )
        return Request(at_us=instant_us(entry.at), claim=claim, held_us=held_us or 0)


def instant_us(at: float | str) -> int:
    """Return microseconds since the epoch, of seconds or of RFC 3339.

    Raises:
        InvalidRequest: neither of them, a local time without its offset, or not before 3000.
    """
    if isinstance(at, str) and not _NUMBER.fullmatch(at):
        at_us = _parsed_us(at)
    elif 0 <= (seconds := float(at)) <= _AT_MAX_S:
        # An int is not made a float, which would round what it counts in microseconds.
        at_us = at * 1_000_000 if isinstance(at, int) else round(seconds * 1e6)
    else:
        at_us = -1
    if not 0 <= at_us <= _AT_MAX_S * 1_000_000:
        raise InvalidRequest("at", at, "RFC 3339, or seconds (not milliseconds), of 1970 to 2999")
    return at_us


def _parsed_us(at: str) -> int:
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        raise InvalidRequest("at", at[:100], "RFC 3339, or seconds") from None
    if instant.tzinfo is None:
        raise InvalidRequest("at", at, "a time with its offset, such as 2026-11-21T14:00:00Z")
    return (instant - _EPOCH) // _US
