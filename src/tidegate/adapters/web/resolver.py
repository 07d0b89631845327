"""Names to addresses by the system's resolver, without letting one tenant occupy it.

A lookup blocks a thread for as long as a dead name server likes. So each has a daemon thread of
its own: the event loop's executor stays free for others, and the process can end at any time.
A slot is held until its thread is really done, also after the caller has given up waiting.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from weakref import WeakValueDictionary

Resolve = Callable[[str], Sequence[str]]
"""Blocking: a host name in, every address of it out; raises OSError."""


def system_addresses(host: str) -> Sequence[str]:
    """Return all addresses of a name, best first, as the system orders them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Resolver:
    """Runs at most `lookups_max` lookups at once, and `lookups_per_tenant` of one tenant."""

    def __init__(self, resolve: Resolve, *, lookups_max: int, lookups_per_tenant: int) -> None:
        self._resolve = resolve
        self._all = asyncio.Semaphore(lookups_max)
        self._per_tenant = lookups_per_tenant
        # A semaphore lives as long as somebody waits for it or a thread of it runs.
        self._tenants: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, tenant: str, host: str) -> Sequence[str]:
        """Return the addresses of a host, which may be an address itself.

        Raises:
            OSError: the name cannot be resolved.
        """
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        mine = self._tenants.get(tenant)
        if mine is None:
            mine = self._tenants[tenant] = asyncio.Semaphore(self._per_tenant)
        await mine.acquire()
        try:
            await self._all.acquire()
        except asyncio.CancelledError:
            mine.release()
            raise
        return await self._in_thread(host, (mine, self._all))

    async def _in_thread(
        self, host: str, slots: tuple[asyncio.Semaphore, asyncio.Semaphore]
    ) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def finish(found: Sequence[str], error: Exception | None) -> None:
            for slot in slots:
                slot.release()
            if answer.done():
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def work() -> None:
            found: Sequence[str] = ()
            error: Exception | None = None
            try:
                found = self._resolve(host)
            except Exception as caught:
                error = caught
            try:
                loop.call_soon_threadsafe(finish, found, error)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                return

        threading.Thread(target=work, name=f"resolve {host}", daemon=True).start()
        return await answer
