"""What a pool asks of the things it lends: a browser, a WASM instance, a PDF worker."""

from __future__ import annotations

from typing import Protocol


class Pooled(Protocol):
    """One worker that serves one job at a time and can be thrown away."""

    @property
    def alive(self) -> bool:
        """False once the worker can serve no more jobs. Cheap: read on every return."""
        ...

    @property
    def memory_bytes(self) -> int | None:
        """Memory the worker holds now, or None where it cannot be measured. May read /proc."""
        ...

    async def close(self) -> None:
        """End the worker and wait until its processes are gone. Idempotent; never raises."""
        ...
