"""One passage through the egress guard: its credentials, its budgets, its log."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tidegate.ports.egress_guard import Refusal

MIB = 2**20
REFUSALS_MAX = 100
"""How many refusals a passage remembers, as its port promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressLimits:
    """How much one passage, one tenant and the whole guard may use.

    `head_us` is for a client to say what it wants, `lookup_us` for a name, `connect_us` for all
    addresses of a host together, `idle_us` between two bytes in either direction.
    """

    head_us: int = 10_000_000
    lookup_us: int = 5_000_000
    connect_us: int = 10_000_000
    idle_us: int = 30_000_000
    head_max_bytes: int = 64 * 1024
    received_max_bytes: int = 64 * MIB
    sent_max_bytes: int = 64 * MIB
    # Chromium opens at most 32 connections to one proxy.
    connections_per_passage: int = 64
    # Each connection is two descriptors, and 1024 of those is a common limit.
    connections_max: int = 400
    lookups_per_tenant: int = 8
    lookups_max: int = 32


class Refused(Exception):
    """The guard does not let this through. Says why, in words that a tenant may read."""


class GuardedPassage:
    """`Passage` of the filtering proxy."""

    def __init__(
        self,
        *,
        tenant: str,
        proxy_url: str,
        limits: EgressLimits,
        on_close: Callable[[GuardedPassage], None],
    ) -> None:
        self.tenant = tenant
        self.proxy_url = proxy_url
        self.username = secrets.token_hex(8)
        self.password = secrets.token_urlsafe(32)
        self.received_bytes = 0
        self._sent_bytes = 0
        self._refusals: list[Refusal] = []
        self._limits = limits
        self._on_close = on_close
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What was refused so far, in order, the first `REFUSALS_MAX`."""
        return tuple(self._refusals)

    def refuse(self, url: str, reason: str) -> None:
        """Remember that `url` was not let through."""
        if len(self._refusals) < REFUSALS_MAX:
            self._refusals.append(Refusal(url=url, reason=reason))

    @contextmanager
    def carrying(self, connection: asyncio.Task[None]) -> Iterator[None]:
        """Count one connection in while the block runs; `close` cancels it.

        Raises:
            Refused: too many at once.
        """
        if len(self._connections) >= self._limits.connections_per_passage:
            raise Refused(f"more than {len(self._connections)} connections at once")
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    def receive(self, size_bytes: int) -> None:
        """Count bytes that came from outside.

        Raises:
            Refused: the passage has had all it may have.
        """
        self.received_bytes += size_bytes
        self._within(self.received_bytes, self._limits.received_max_bytes, "received")

    def send(self, size_bytes: int) -> None:
        """Count bytes that go outside.

        Raises:
            Refused: the passage has sent all it may send.
        """
        self._sent_bytes += size_bytes
        self._within(self._sent_bytes, self._limits.sent_max_bytes, "sent")

    def close(self) -> None:
        """Cut every connection of this passage. Idempotent."""
        self._on_close(self)
        for connection in self._connections:
            connection.cancel()

    @staticmethod
    def _within(spent_bytes: int, max_bytes: int, verb: str) -> None:
        if spent_bytes > max_bytes:
            raise Refused(f"more than {max_bytes} bytes were {verb}")
