"""A shared store on Redis or Valkey, for tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tidegate.adapters.redis.address import RedisAddress
from tidegate.adapters.redis.admission_calls import LOAD, AdmissionCalls, bounds_of
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.failures import unavailable
from tidegate.adapters.redis.primary import find_primary
from tidegate.adapters.redis.reply import Arg, ServerError
from tidegate.adapters.redis.subscription import Subscription
from tidegate.adapters.redis.wire import AsyncWire
from tidegate.domain.batch import Batch, Reply
from tidegate.errors import StoreUnavailable


class RedisSharedStore:
    """`SharedStore` on one server, a group under sentinels, or one slot of a cluster.

    Args:
        address: Where it is, and its name there.
        timeout_s: How long a batch may take until its outcome counts as unknown.

    Raises:
        InvalidSetting: a number out of range, or a TLS file that cannot be read.
    """

    def __init__(self, address: RedisAddress, *, timeout_s: float = 1.0) -> None:
        self._address, self._bounds = address, bounds_of(timeout_s)
        self._calls = AdmissionCalls(address)
        self._wire: AsyncWire | None = None
        self._connecting = asyncio.Lock()
        self._subscription: Subscription | None = None

    async def connect(self) -> None:
        """See `SharedStore.connect`."""
        async with self._connecting:
            if self._wire is not None and self._wire.connected:
                return
            await self._drop()
            endpoint = await self._find()
            wire = AsyncWire(endpoint, self._bounds)
            try:
                await wire.connect()
                self._calls.check(endpoint, wire.server)
                await wire.call(*LOAD)
                self._calls.reply(endpoint, await wire.call(*self._calls.probe()))
            except ServerError as error:
                await wire.close()
                raise self._calls.error(endpoint, error) from error
            except BaseException:
                await wire.close()
                raise
            self._wire = wire

    async def apply(self, batch: Batch) -> Reply:
        """See `SharedStore.apply`."""
        wire = self._wire
        if wire is None:
            raise unavailable(self._address.endpoint(), "not connected")
        call = self._calls.apply(batch)
        try:
            try:
                data = await wire.send(call)
            except ServerError as error:
                if error.kind != "NOSCRIPT":
                    raise
                # A restarted server knows no scripts; so far nothing was done.
                await wire.call(*LOAD)
                data = await wire.send(call)
        except ServerError as error:
            # Whatever it was: the next server that is looked for may do better.
            await self._drop(wire)
            raise self._calls.error(wire.endpoint, error) from error
        return self._calls.reply(wire.endpoint, data)

    def listen(self, member: str, woken: Callable[[], None]) -> None:
        """See `SharedStore.listen`. One member at a time: the last one that was named."""
        if self._subscription is None:
            self._subscription = Subscription(self._find, self._bounds)
        self._subscription.follow(self._calls.channel(member), woken)

    async def close(self) -> None:
        """See `SharedStore.close`."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()
        await self._drop()

    async def _drop(self, which: AsyncWire | None = None) -> None:
        wire = which or self._wire
        if wire is self._wire:
            self._wire = None
        if wire is not None:
            await wire.close()

    async def _find(self) -> Endpoint:
        search = find_primary(self._address, self._calls.key)
        try:
            question = next(search)
            while True:
                question = search.send(await self._ask(*question))
        except StopIteration as found:
            endpoint: Endpoint = found.value
            return endpoint

    async def _ask(self, endpoint: Endpoint, words: tuple[Arg, ...]) -> Any:
        try:
            async with AsyncWire(endpoint, self._bounds) as wire:
                return await wire.call(*words)
        except (StoreUnavailable, ServerError) as error:
            return error
