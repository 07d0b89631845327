"""Bounds the memory that the JavaScript heap limit does not: arrays, canvases, the DOM, blobs.

Chromium offers no limit for these and dies of rlimits that would hold them, so somebody has to
look, every 100 ms while a page is rendered. An idle browser has no page and cannot grow.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum

from tidegate.adapters.chromium.processes import ProcessTree, kill, resident_bytes

_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCaps:
    """Most memory of one renderer (resident) and of all processes of a browser (proportional)."""

    renderer_bytes: int = 400 * 2**20
    tree_bytes: int = 2**30


class Breach(Enum):
    """Which cap was passed."""

    RENDERER = "the page needed more memory than a renderer may have"
    TREE = "the browser needed more memory than it may have"


async def first_breach(tree: ProcessTree, caps: MemoryCaps, scanner: Executor) -> Breach:
    """Look until a cap is passed. A renderer above its cap has been killed when this returns."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_PERIOD_S)
        # A thread of its own, for /proc may be slow and the default threads may all be busy.
        breach = await loop.run_in_executor(scanner, enforce, tree, caps)
        if breach is not None:
            return breach


def enforce(tree: ProcessTree, caps: MemoryCaps) -> Breach | None:
    """Kill every renderer above its cap, and say whether the whole tree is above its own."""
    resident = {pid: resident_bytes(pid) for pid in tree.pids()}
    # Shared pages count once per process here, so only a sum above the cap is worth a real look.
    if sum(resident.values()) > caps.tree_bytes and tree.memory_bytes() > caps.tree_bytes:
        return Breach.TREE
    if max(resident.values(), default=0) <= caps.renderer_bytes:
        return None
    heavy = [pid for pid in tree.renderers() if resident.get(pid, 0) > caps.renderer_bytes]
    for pid in heavy:
        kill(pid)
    return Breach.RENDERER if heavy else None
