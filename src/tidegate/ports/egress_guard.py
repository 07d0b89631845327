"""The only way out for untrusted fetches: one filtering proxy for the whole process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

MARKER: Final = "x-tidegate-egress"
"""Header by which the guard signs its own answers over plain http; it lets no other through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One address that was asked for and not let through."""

    url: str
    reason: str


class Passage(Protocol):
    """One request's way out through the guard: its credentials, and what happened on it.

    Open it for one piece of work and close it after; a closed passage lets nothing through.
    """

    @property
    def proxy_url(self) -> str:
        """`http://127.0.0.1:<port>`, without credentials."""
        ...

    @property
    def username(self) -> str:
        """Proxy user name, unique to this passage."""
        ...

    @property
    def password(self) -> str:
        """Proxy password, unguessable."""
        ...

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What was refused so far, in order, the first 100."""
        ...

    @property
    def received_bytes(self) -> int:
        """Bytes that came back from remote servers so far, as on the wire."""
        ...

    def close(self) -> None:
        """Cut every connection of this passage. Idempotent."""
        ...


class EgressGuard(Protocol):
    """Resolves once, refuses private addresses, and dials the address it checked."""

    async def start(self) -> None:
        """Bind the listener on a free loopback port."""
        ...

    def open(self, tenant: str) -> Passage:
        """Open a passage for one piece of work of `tenant`."""
        ...

    async def stop(self) -> None:
        """Close the listener and every connection. Idempotent."""
        ...
