"""Connects to a host that the policy lets through, at the very address that was checked.

The name is resolved once; resolving again for the connection would let a name server answer
differently the second time (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence

from tidegate.adapters.web.passage import EgressLimits, GuardedPassage, Refused
from tidegate.adapters.web.relay import Stream
from tidegate.adapters.web.resolver import Resolver
from tidegate.domain.egress import EgressPolicy
from tidegate.domain.target import Target

STREAM_BUFFER_BYTES = 64 * 1024
"""Read ahead per direction; asyncio holds up to twice that before it stops reading."""

ADDRESSES_MAX = 4
"""How many addresses of one host are tried."""


class Unreachable(Exception):
    """No connection came about. Says why, without naming addresses."""


class Dialer:
    """The one place that connects to the outside."""

    def __init__(self, policy: EgressPolicy, resolver: Resolver, limits: EgressLimits) -> None:
        self._policy = policy
        self._resolver = resolver
        self._limits = limits

    async def dial(self, target: Target, passage: GuardedPassage) -> Stream:
        """Resolve, check and connect.

        Raises:
            Refused: the policy does not let it through.
            Unreachable: no such name, or nobody answers there.
        """
        addresses = await self._addresses(target.host, passage.tenant)
        reason = self._policy.refusal(target.host, target.port, addresses)
        if reason is not None:
            raise Refused(reason)
        return await self._connect(addresses[:ADDRESSES_MAX], target.port)

    async def _addresses(self, host: str, tenant: str) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._limits.lookup_us / 1e6):
                return await self._resolver.addresses(tenant, host)
        except TimeoutError:
            wait_s = self._limits.lookup_us / 1e6
            raise Unreachable(f"its name was not resolved within {wait_s:g} s") from None
        except (OSError, UnicodeError) as error:
            missing = getattr(error, "errno", None) in {socket.EAI_NONAME, socket.EAI_NODATA}
            reason = "its name does not exist" if missing else "its name cannot be resolved"
            raise Unreachable(reason) from error

    async def _connect(self, addresses: Sequence[str], port: int) -> Stream:
        share_us = self._limits.connect_us / len(addresses)
        reason = ""
        for address in addresses:
            try:
                async with asyncio.timeout(share_us / 1e6):
                    return Stream(
                        *await asyncio.open_connection(address, port, limit=STREAM_BUFFER_BYTES)
                    )
            except TimeoutError:
                reason = f"nobody answered within {share_us / 1e6:g} s"
            except OSError as error:
                # The text of the exception would tell the address; its number does not.
                reason = os.strerror(error.errno).lower() if error.errno else "connection failed"
        raise Unreachable(reason)
