"""Lets one thread at a time pass, for the shortest steps there are."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType


class Turnstile:
    """Mutual exclusion at half the price of a `threading.Lock`, whose methods parse keywords.

    A queue with one token in it: whoever gets the token is inside, and puts it back when leaving.
    Not reentrant.
    """

    def __init__(self) -> None:
        tokens: SimpleQueue[None] = SimpleQueue()
        self.enter: Callable[[], None] = tokens.get
        self.leave: Callable[[None], None] = tokens.put
        self.leave(None)

    def __enter__(self) -> None:
        self.enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave(None)
