"""How long and how much a connection waits before it gives up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """When to give up.

    Attributes:
        connect_timeout_us: On an event loop for everything until the first call can be made: the
            name, TCP, TLS, the password. In threads for each of them.
        deadline_us: For the reply to a call, from the moment it is made.
        calls_max: Calls of an event loop without a reply; more are refused.
        unsent_bytes_max: What an event loop keeps for a server that does not read; more is refused.
    """

    connect_timeout_us: int = 2_000_000
    deadline_us: int = 1_000_000
    calls_max: int = 100_000
    unsent_bytes_max: int = 64 * 2**20
