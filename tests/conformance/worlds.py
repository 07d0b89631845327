"""Shared stores for the suites, each empty, and batches for them."""

from __future__ import annotations

import msgspec

from tidegate.domain.batch import Batch, Reply
from tidegate.domain.shared import handle
from tidegate.domain.world import World


class WorldStore:
    """`BlockingStore` in this process, by the pure rule alone: what all others have to equal."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()

    def connect(self) -> None:
        """Nothing to connect to."""

    def apply(self, batch: Batch) -> Reply:
        # Other stores load a new world for each batch, and so see only what this one frees.
        self.world.freed.clear()
        self.world.dirty.clear()
        return msgspec.msgpack.decode(handle(self.world, batch, batch.now_us), type=Reply)

    def close(self) -> None:
        """Nothing to let go of."""
