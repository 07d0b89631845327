"""The machine this process runs on: what it has, and what it does."""

from __future__ import annotations

from typing import Protocol

from tidegate.domain.machine import MachineSample


class Machine(Protocol):
    """Measurements of the whole machine."""

    def sample(self) -> MachineSample:
        """Measure now. Takes some ten microseconds."""
        ...

    def close(self) -> None:
        """Let go of what is kept open for the next sample. Idempotent."""
        ...
