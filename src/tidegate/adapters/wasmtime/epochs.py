"""Deadlines for code that runs inside WebAssembly, kept by one thread for the whole process.

An engine whose epoch moves interrupts what runs in it. A clock that ticks all the time would wake
the process for nothing, so this thread sleeps until the earliest deadline, and ends with the last
extractor.

Source: wasmtime, "Interrupting Wasm Execution", epoch-based interruption.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Protocol

from tidegate.errors import WorkerCrashed, WorkTimeout

OPERATION = "extract"


class Engine(Protocol):
    """What is needed of a `wasmtime.Engine`."""

    def increment_epoch(self) -> None:
        """Interrupt what runs in this engine."""
        ...


class Call:
    """One extraction: when it must end, and whether anybody still waits for it."""

    def __init__(self, timeout_us: int) -> None:
        self.timeout_us = timeout_us
        self.deadline_s = time.monotonic() + timeout_us / 1e6
        self.stopped = False

    def check(self) -> None:
        """Raise if the call has to end now. Cheap; ask often between long steps."""
        if self.stopped:
            raise WorkerCrashed("the extractor was stopped while it worked")
        if time.monotonic() >= self.deadline_s:
            raise WorkTimeout(OPERATION, self.timeout_us)


class Deadlines:
    """Interrupts each call's engine when its time is over. The thread lives while it is held."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[Call, Engine] = {}
        self._holders = 0
        self._thread: threading.Thread | None = None
        self._wakes_s = inf

    def hold(self) -> None:
        """Keep the thread alive until as many `release` calls have come."""
        with self._changed:
            self._holders += 1
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._keep, name="tidegate-wasm-deadlines", daemon=True
                )
                self._thread.start()

    def release(self) -> None:
        """Let go of the thread; with the last holder it ends before this returns."""
        with self._changed:
            self._holders -= 1
            if self._holders or self._thread is None:
                return
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        thread.join()

    @contextmanager
    def watch(self, call: Call, engine: Engine) -> Iterator[None]:
        """Interrupt `engine` when the call has to end, but not after this block.

        Raises:
            WorkTimeout: its time was over before it began.
            WorkerCrashed: it was stopped before it began.
        """
        with self._changed:
            call.check()
            self._watched[call] = engine
            if call.deadline_s < self._wakes_s:
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(call, None)

    def stop(self, call: Call) -> None:
        """End the call as soon as possible, from any thread."""
        with self._changed:
            call.stopped = True
            self._interrupt(call)

    def _interrupt(self, call: Call) -> None:
        engine = self._watched.pop(call, None)
        if engine is not None:
            engine.increment_epoch()

    def _keep(self) -> None:
        with self._changed:
            while self._thread is threading.current_thread():
                now_s = time.monotonic()
                for call in [call for call in self._watched if call.deadline_s <= now_s]:
                    self._interrupt(call)
                self._wakes_s = min((call.deadline_s for call in self._watched), default=inf)
                # `wait` refuses more seconds than fit the system's clock type.
                wait_s = min(self._wakes_s - now_s, threading.TIMEOUT_MAX)
                self._changed.wait(None if self._wakes_s == inf else wait_s)
                self._wakes_s = inf


DEADLINES = Deadlines()
