"""How a running service is told to end: by SIGTERM or SIGINT, at any moment of its life.

Handlers of the event loop and not of the interpreter: those raise in the middle of whatever runs,
and what had been started would stay behind.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """Counts how often the end was asked for, and passes it on to whoever is in charge.

    While the service starts, that is the task that starts it: the first signal cancels it.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._in_charge: Callable[[int], None] | None = None

    def hand_over(self, in_charge: Callable[[int], None]) -> None:
        """Call `in_charge` from now on, with how often the end was asked for; at once if it was.

        A start that was cancelled may come through all the same: not all that it waits for can
        be cancelled at every moment.
        """
        self._in_charge = in_charge
        if self.asked:
            in_charge(self.asked)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Listen to the signals while the body runs; a start that is cancelled just ends."""
        loop, starting = asyncio.get_running_loop(), asyncio.current_task()
        assert starting is not None
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            loop.add_signal_handler(number, self._ask, starting)
        try:
            yield
        except asyncio.CancelledError:
            if not self.asked:
                raise
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def _ask(self, starting: asyncio.Task[None]) -> None:
        self.asked += 1
        if self._in_charge is not None:
            self._in_charge(self.asked)
        elif self.asked == 1:
            # Only once: a second one would cut short what gives everything back.
            starting.cancel()
