"""An end that is asked for is never forgotten."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from tidegate.entrypoints.ending import Ending

pytestmark = pytest.mark.anyio


async def test_a_start_that_swallows_its_cancellation_ends_all_the_same() -> None:
    ending, told = Ending(), list[int]()
    with ending.watch():
        os.kill(os.getpid(), signal.SIGTERM)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        ending.hand_over(told.append)
        assert told == [1]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
    assert told == [1, 2]


async def test_nobody_is_told_of_an_end_that_was_not_asked_for() -> None:
    ending, told = Ending(), list[int]()
    with ending.watch():
        ending.hand_over(told.append)
    assert told == []
