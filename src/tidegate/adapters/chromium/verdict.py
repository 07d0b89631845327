"""What went wrong with a page, from what the browser and the guard said. Pure.

A refused http:// address shows as a page of the guard, a refused https:// one as a tunnel that did
not come about. Only the way of the top frame counts: a page whose image was refused is a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.domain.target import Target, parse_url
from tidegate.errors import (
    EgressRefused,
    InvalidUrl,
    TidegateError,
    UpstreamFailed,
    UpstreamRejected,
    WorkerCrashed,
)
from tidegate.ports.egress_guard import Refusal

# 204 No Content and 205 Reset Content leave the old page in place.
_NO_PAGE = frozenset((204, 205))


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far the top frame came.

    Args:
        address: The last address it asked for, redirects included.
        status: The status that answered it, or None without an answer.
        marker: What the guard signed that answer with, or None if the answer is the server's.
        downloading: Whether an answer was taken as a file instead of a page.
    """

    address: str
    status: int | None = None
    marker: str | None = None
    downloading: bool = False


def verdict_of_guard(course: Course, refusals: Sequence[Refusal]) -> TidegateError | None:
    """The error when the guard kept the top frame from its address."""
    address = course.address
    if course.status is not None and course.marker is None:
        return None
    for refusal in refusals:
        if _names(refusal.url, address):
            return EgressRefused(address, refusal.reason)
    if course.marker == "refused":
        # The list holds the first hundred only.
        return EgressRefused(address, "it is refused like others before it")
    if course.marker == "unknown":
        return EgressRefused(address, "the passage is closed")
    if course.marker is not None:
        return UpstreamFailed(f"{address} could not be reached")
    return None


def failure(course: Course, message: str, refusals: Sequence[Refusal]) -> TidegateError:
    """The error for a navigation that ended with `message`, in playwright's words."""
    guarded = verdict_of_guard(course, refusals)
    if guarded is not None:
        return guarded
    if is_end(message):
        return WorkerCrashed("the browser or the page's renderer died")
    address, fact = course.address, _network_error(message)
    if course.downloading or "Download is starting" in message:
        return UpstreamRejected(f"{address} answers with a download, not with a page")
    if course.status in _NO_PAGE or fact == "ERR_HTTP_RESPONSE_CODE_FAILURE":
        return UpstreamRejected(f"{address} answers {course.status} without a page")
    if fact == "ERR_UNSAFE_PORT":
        return EgressRefused(address, "no browser opens this port")
    return UpstreamFailed(f"{address} could not be opened: {fact or _first_line(message)}")


def is_end(message: str) -> bool:
    """Whether playwright says that the page's renderer or its browser is gone."""
    return "crashed" in message or "has been closed" in message


def _network_error(message: str) -> str | None:
    words = message.partition("net::")[2].split()
    return words[0].rstrip(";,.") if words else None


def _first_line(message: str) -> str:
    return next(iter(message.splitlines()), "no reason given")


def _names(refused: str, address: str) -> bool:
    """Whether a refusal is of `address`. One of a tunnel knows no more than host and port."""
    whole, target = _target(refused), _target(address)
    if whole is None or target is None:
        return False
    if target.scheme == "https":
        return (whole.host, whole.port) == (target.host, target.port)
    return whole == target


def _target(url: str) -> Target | None:
    try:
        return parse_url(url)
    except InvalidUrl:
        return None
