"""Fetching one untrusted URL, bounded in size, time and kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tidegate.ports.egress_guard import Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """What to fetch. `media_types` are exact types such as `text/html`, in lower case."""

    url: str
    media_types: frozenset[str]
    size_max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The decoded answer. `charset` is the one the Content-Type declared, lower case, or None."""

    final_url: str
    status: int
    media_type: str
    charset: str | None
    body: bytes


class Fetcher(Protocol):
    """An HTTP client that trusts nothing it hears."""

    async def fetch(self, request: FetchRequest, passage: Passage, *, timeout_us: int) -> Fetched:
        """GET the URL through `passage`, following at most ten redirects.

        A status of 400 and above is an answer like any other.

        Raises:
            EgressRefused: the address, or one it redirected to, may not be reached.
            WorkTimeout: not complete within `timeout_us`.
            UpstreamFailed: no connection, TLS failure, broken off, not HTTP, too many redirects.
            UpstreamRejected: other media type, larger than `size_max_bytes` after decoding,
                or an encoding that is unknown or expands like a bomb.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection. Idempotent."""
        ...
