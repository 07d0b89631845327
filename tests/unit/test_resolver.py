"""Lookups in threads: bounded for all and for each tenant, and never in the way of the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from tidegate.adapters.web.resolver import Resolver, system_addresses

PATIENCE_S = 30.0


class SlowNames:
    """Resolves `slow...` when the test allows it, everything else at once."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.running = 0
        self.running_max = 0

    def __call__(self, host: str) -> Sequence[str]:
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        if host.startswith("slow"):
            self.allowed.wait(PATIENCE_S)
        self.running -= 1
        return ["192.0.2.1"]


@pytest.mark.anyio
async def test_a_lookup_that_nobody_waits_for_keeps_its_slot_until_it_ends() -> None:
    names = SlowNames()
    resolver = Resolver(names, lookups_max=1, lookups_per_tenant=1)
    for tenant, host in (("a", "slow.example"), ("b", "quick.example"), ("a", "quick.example")):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await resolver.addresses(tenant, host)
    assert names.running == 1
    names.allowed.set()
    async with asyncio.timeout(PATIENCE_S):
        for tenant in ("a", "b"):
            assert await resolver.addresses(tenant, "quick.example") == ["192.0.2.1"]
    assert names.running_max == 1


@pytest.mark.anyio
async def test_an_address_needs_no_lookup() -> None:
    def unasked(host: str) -> Sequence[str]:
        raise AssertionError(host)

    resolver = Resolver(unasked, lookups_max=1, lookups_per_tenant=1)
    assert await resolver.addresses("a", "127.0.0.1") == ["127.0.0.1"]
    assert await resolver.addresses("a", "::1") == ["::1"]


def test_a_loop_may_end_before_its_lookups() -> None:
    names = SlowNames()

    async def give_up() -> None:
        resolver = Resolver(names, lookups_max=4, lookups_per_tenant=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await resolver.addresses("a", "slow.example")

    asyncio.run(give_up())
    threads = [thread for thread in threading.enumerate() if "slow.example" in thread.name]
    assert [thread.daemon for thread in threads] == [True]
    names.allowed.set()
    threads[0].join(PATIENCE_S)
    assert not threads[0].is_alive()


def test_the_system_knows_this_machine() -> None:
    assert set(system_addresses("localhost")) <= {"127.0.0.1", "::1"}
    assert system_addresses("127.1") == ["127.0.0.1"]
