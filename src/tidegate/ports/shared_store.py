"""A store that several processes share. One batch is one round trip and one atomic step.

The rule is `domain/shared.handle`; adapters make it atomic and durable, and have none of their own.
Two colours of one promise, since a connection belongs to a loop or to threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tidegate.domain.batch import Batch, Reply


class SharedStore(Protocol):
    """For tasks of one event loop."""

    async def connect(self) -> None:
        """Connect, and see that this store can be used. Again after a failure, to reconnect.

        Raises:
            StoreUnavailable: it cannot be reached, or is not ready.
            InvalidSetting: it answers, and can never be used as it is set up.
        """
        ...

    async def apply(self, batch: Batch) -> Reply:
        """Apply a batch in one step. A batch that was applied before is only answered again.

        Raises:
            StoreUnavailable: outcome unknown; send the same batch again to learn it.
        """
        ...

    def listen(self, member: str, woken: Callable[[], None]) -> None:
        """Call `woken`, soon and best effort, when other members' batches wake this one."""
        ...

    async def close(self) -> None:
        """Let go of every connection. Does not raise."""
        ...


class BlockingStore(Protocol):
    """For threads: each call blocks. Safe to call from several at once."""

    def connect(self) -> None:
        """See `SharedStore.connect`."""
        ...

    def apply(self, batch: Batch) -> Reply:
        """See `SharedStore.apply`."""
        ...

    def close(self) -> None:
        """See `SharedStore.close`."""
        ...
