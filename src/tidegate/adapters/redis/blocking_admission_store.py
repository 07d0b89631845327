"""A shared store on Redis or Valkey, for threads."""

from __future__ import annotations

import threading
from typing import Any

from tidegate.adapters.redis.address import RedisAddress
from tidegate.adapters.redis.admission_calls import LOAD, AdmissionCalls, bounds_of
from tidegate.adapters.redis.blocking_wire import BlockingWire
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.failures import unavailable
from tidegate.adapters.redis.primary import find_primary
from tidegate.adapters.redis.reply import Arg, ServerError
from tidegate.domain.batch import Batch, Reply
from tidegate.errors import StoreUnavailable


class RedisBlockingStore:
    """`BlockingStore` on one server, a group under sentinels, or one slot of a cluster.

    Args:
        address: Where it is, and its name there.
        timeout_s: How long a batch may take until its outcome counts as unknown.

    Raises:
        InvalidSetting: a number out of range, or a TLS file that cannot be read.
    """

    def __init__(self, address: RedisAddress, *, timeout_s: float = 1.0) -> None:
        self._address, self._bounds = address, bounds_of(timeout_s)
        self._calls = AdmissionCalls(address)
        self._wire: BlockingWire | None = None
        self._connecting = threading.Lock()

    def connect(self) -> None:
        """See `BlockingStore.connect`."""
        with self._connecting:
            if self._wire is not None and self._wire.connected:
                return
            self._drop()
            endpoint = self._find()
            wire = BlockingWire(endpoint, self._bounds)
            try:
                wire.connect()
                self._calls.check(endpoint, wire.server)
                wire.call(*LOAD)
                self._calls.reply(endpoint, wire.call(*self._calls.probe()))
            except ServerError as error:
                wire.close()
                raise self._calls.error(endpoint, error) from error
            except BaseException:
                wire.close()
                raise
            self._wire = wire

    def apply(self, batch: Batch) -> Reply:
        """See `BlockingStore.apply`."""
        wire = self._wire
        if wire is None:
            raise unavailable(self._address.endpoint(), "not connected")
        call = self._calls.apply(batch)
        try:
            try:
                data = wire.call(*call)
            except ServerError as error:
                if error.kind != "NOSCRIPT":
                    raise
                # A restarted server knows no scripts; so far nothing was done.
                wire.call(*LOAD)
                data = wire.call(*call)
        except ServerError as error:
            # Whatever it was: the next server that is looked for may do better.
            wire.close()
            raise self._calls.error(wire.endpoint, error) from error
        return self._calls.reply(wire.endpoint, data)

    def close(self) -> None:
        """See `BlockingStore.close`."""
        with self._connecting:
            self._drop()

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _find(self) -> Endpoint:
        search = find_primary(self._address, self._calls.key)
        try:
            question = next(search)
            while True:
                question = search.send(self._ask(*question))
        except StopIteration as found:
            endpoint: Endpoint = found.value
            return endpoint

    def _ask(self, endpoint: Endpoint, words: tuple[Arg, ...]) -> Any:
        try:
            with BlockingWire(endpoint, self._bounds) as wire:
                return wire.call(*words)
        except (StoreUnavailable, ServerError) as error:
            return error
