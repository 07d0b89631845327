"""Deadlines are kept, stops are heard at any moment, and the thread ends with its last holder."""

from __future__ import annotations

import threading
import time

import pytest

from tidegate.adapters.wasmtime.epochs import Call, Deadlines
from tidegate.errors import WorkerCrashed, WorkTimeout

FAR_US = 3600_000_000


class Engine:
    """Knows whether and when it was interrupted."""

    def __init__(self) -> None:
        self.interrupted = threading.Event()
        self.at_s = 0.0

    def increment_epoch(self) -> None:
        self.at_s = time.monotonic()
        self.interrupted.set()


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines()


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "deadlines" in thread.name]


def test_each_call_is_interrupted_at_its_own_deadline(deadlines: Deadlines) -> None:
    deadlines.hold()
    engines = [Engine() for _ in range(4)]
    # The last one comes first, so the thread has to be woken from a longer sleep.
    calls = [Call(timeout_us) for timeout_us in (FAR_US, 200_000, 100_000, 50_000)]
    with (
        deadlines.watch(calls[0], engines[0]),
        deadlines.watch(calls[1], engines[1]),
        deadlines.watch(calls[2], engines[2]),
        deadlines.watch(calls[3], engines[3]),
    ):
        assert all(engine.interrupted.wait(5) for engine in engines[1:])
        assert not engines[0].interrupted.is_set()
    deadlines.release()
    for call, engine in zip(calls[1:], engines[1:], strict=True):
        assert 0 <= engine.at_s - call.deadline_s < 1


def test_a_call_that_ended_is_left_alone(deadlines: Deadlines) -> None:
    deadlines.hold()
    engine = Engine()
    call = Call(20_000)
    with deadlines.watch(call, engine):
        pass
    time.sleep(0.1)
    deadlines.stop(call)
    deadlines.release()
    assert not engine.interrupted.is_set()


def test_stop_interrupts_at_once(deadlines: Deadlines) -> None:
    deadlines.hold()
    engine = Engine()
    call = Call(FAR_US)
    with deadlines.watch(call, engine):
        deadlines.stop(call)
        assert engine.interrupted.is_set()
    deadlines.release()
    with pytest.raises(WorkerCrashed):
        call.check()


def test_what_ended_before_it_began_is_not_watched(deadlines: Deadlines) -> None:
    stopped, late = Call(FAR_US), Call(0)
    deadlines.stop(stopped)
    with pytest.raises(WorkerCrashed), deadlines.watch(stopped, Engine()):
        pass
    with pytest.raises(WorkTimeout), deadlines.watch(late, Engine()):
        pass


def test_the_thread_lives_from_the_first_holder_to_the_last(deadlines: Deadlines) -> None:
    assert names() == []
    for _ in range(3):
        deadlines.hold()
        deadlines.hold()
        deadlines.release()
        assert len(names()) == 1
        deadlines.release()
        assert names() == []
