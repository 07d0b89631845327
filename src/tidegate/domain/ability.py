"""What a machine lets us do to processes: limit them, pin them, shape their traffic, watch them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["enforced", "advisory", "accounted"]
"""How far a limit reaches.

`enforced`: the kernel keeps it, whatever the process does. `advisory`: it is set from outside, and
a process could undo it. `accounted`: it is counted, and nothing else.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """One thing that can be done here or not.

    Args:
        name: `cpu_pinning`, `cpu_time`, `memory`, ...
        level: How far it reaches, as things are.
        how: By what, or why not more.
        advice: What to grant for more; empty where there is no more.
    """

    name: str
    level: Level
    how: str
    advice: str = ""
