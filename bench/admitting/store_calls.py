"""Row 11: how often the store is called, counted at the server.

MONITOR shows every command and says which came from a script; INFO commandstats cannot tell those
apart and would count what a script does inside as calls. Two markers enclose what is counted;
whatever else arrives in between counts, heartbeats too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from admitting import own, redis_peers
from admitting.effort import Effort
from admitting.redis_rates import tenant
from admitting.servers import Servers
from admitting.table import Bar, NotMeasured, Row
from tidegate import Capacity, Claim, Granted

GROUP = "calls"
CLAIMS = 200
HITS_A_CLAIM = 4
# A heartbeat may fall in between.
CALLS_A_CLAIM = Bar(at_least=1, at_most=1.01, unit="calls")
MEMBERS_X_SHARDS = 1
CALLS_A_SECOND = Bar(at_most=MEMBERS_X_SHARDS, unit="calls/s")
BEGIN, END = f"begin-{redis_peers.RUN}", f"end-{redis_peers.RUN}"
STOP_S = 30.0


def measure(effort: Effort, servers: Servers) -> list[Row]:
    url = servers.redis()
    return [asyncio.run(calls_a_claim(url)), asyncio.run(calls_of_renewals(url, effort))]


async def calls_a_claim(url: str) -> Row:
    what = "store calls a claim of four limits, one after the other"
    try:
        peer = f"limits.aio, four hits: {await peer_calls(url) / CLAIMS:.2f} calls"
    except NotMeasured as why:
        peer = str(why)
    try:
        calls = await own_calls(url) / CLAIMS
    except NotMeasured as why:
        return Row(group=GROUP, what=what, ours=str(why), peer=peer, bar=CALLS_A_CLAIM)
    return Row(
        group=GROUP,
        what=what,
        ours=f"{calls:.2f} calls",
        peer=peer,
        value=calls,
        unit="calls",
        bar=CALLS_A_CLAIM,
        figures={"calls_a_claim": calls},
    )


async def own_calls(url: str) -> int:
    """Count the calls of claims; the leases are released when the count is over."""
    claim = own.four_limits_claim(tenant(0))
    async with own.gate_on(own.FOUR_LIMITS, url) as gate:
        own.all_granted(await gate.admit(claim))
        decisions: list[Any] = []

        async def work() -> None:
            decisions.extend([await gate.admit(claim) for _ in range(CLAIMS)])

        calls = await counted(url, work)
        for decision in decisions:
            assert isinstance(decision, Granted), decision
            decision.lease.release()
    return calls


async def peer_calls(url: str) -> int:
    async with redis_peers.limits_aio(url).open(HITS_A_CLAIM) as hits:
        for hit in hits:
            await hit()

        async def work() -> None:
            for _ in range(CLAIMS):
                for hit in hits:
                    assert await hit()

        return await counted(url, work)


async def calls_of_renewals(url: str, effort: Effort) -> Row:
    what = f"store calls a second to renew {effort.leases:,} live leases"
    try:
        calls = await renewal_calls(url, effort)
    except NotMeasured as why:
        return Row(group=GROUP, what=what, ours=str(why), unit="calls/s", bar=CALLS_A_SECOND)
    rate = calls / effort.watch_s
    return Row(
        group=GROUP,
        what=what,
        ours=f"{calls} calls in {effort.watch_s:g} s",
        peer=f"members x shards: {MEMBERS_X_SHARDS}",
        value=rate,
        unit="calls/s",
        bar=CALLS_A_SECOND,
        figures={"calls_a_second": rate, "leases": effort.leases},
    )


async def renewal_calls(url: str, effort: Effort) -> int:
    """Count while so many tasks hold a lease each, which comes up for renewal meanwhile."""
    claim = Claim(tenant=tenant(0), hold={"browsers": 1})
    limits = (Capacity("browsers", units=own.AMPLE, name=f"browsers-{tenant(0)}"),)
    held, over = 0, asyncio.Event()
    all_held = asyncio.Event()

    async def hold() -> None:
        nonlocal held
        # Renewed at a third of this, so all of them are while they are watched.
        async with gate.hold(claim, lease_s=effort.watch_s):
            held += 1
            if held == effort.leases:
                all_held.set()
            await over.wait()

    async with own.gate_on(limits, url) as gate, asyncio.TaskGroup() as group:
        for _ in range(effort.leases):
            group.create_task(hold())
        await all_held.wait()
        calls = await counted(url, lambda: asyncio.sleep(effort.watch_s))
        over.set()
    return calls


async def counted(url: str, work: Callable[[], Awaitable[None]]) -> int:
    """Return how many commands clients sent while the work was done."""
    import redis

    listener = Listener(url)
    await asyncio.to_thread(listener.begin)
    try:
        with redis.Redis.from_url(url) as client:
            await asyncio.to_thread(client.echo, BEGIN)
            await work()
            await asyncio.to_thread(client.echo, END)
    except BaseException:
        listener.stop()
        raise
    return await asyncio.to_thread(listener.result)


class Listener:
    """Counts between the markers, in a thread of its own."""

    def __init__(self, url: str) -> None:
        import redis

        # A quiet server is no reason to stop listening.
        self._client: Any = redis.Redis.from_url(url, socket_timeout=None)
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor")
        self._calls = 0
        self._failure: Exception | None = None

    def begin(self) -> None:
        """Return when everything that is sent from now on will be seen."""
        self._thread.start()
        if not self._listens.wait(STOP_S):
            raise RuntimeError("the server does not let itself be monitored") from self._failure

    def result(self) -> int:
        """Return the count once the end marker was seen."""
        self._thread.join(STOP_S)
        if self._thread.is_alive() or self._failure is not None:
            self.stop()
            raise RuntimeError("the end marker was not seen") from self._failure
        return self._calls

    def stop(self) -> None:
        """Give up: the thread ends because its connection does."""
        self._client.close()

    def _run(self) -> None:
        try:
            with self._client, self._client.monitor() as monitor:
                self._listens.set()
                self._calls = self._count(monitor)
        except Exception as failure:
            self._failure = failure

    @staticmethod
    def _count(monitor: Any) -> int:
        calls, counting = 0, False
        for command in monitor.listen():
            if command["command"] == f"ECHO {END}":
                break
            calls += counting and command["client_type"] != "lua"
            counting = counting or command["command"] == f"ECHO {BEGIN}"
        return calls
