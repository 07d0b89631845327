"""What the machine is and what we really use of it."""

from __future__ import annotations

from typing import Protocol


class Host(Protocol):
    """Measurements of this machine and of our own process tree."""

    def tree_memory_bytes(self) -> int | None:
        """Memory of this process and all its descendants now, shared pages counted by share.

        None where the system does not tell. May take milliseconds: call it from a thread.
        """
        ...
