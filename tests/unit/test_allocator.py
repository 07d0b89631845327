"""Freed memory goes back to the system."""

from __future__ import annotations

import pytest

from tidegate.adapters.linux.allocator import keep_large_blocks_apart, trim
from tidegate.adapters.linux.host import LinuxHost

MIB = 2**20


@pytest.mark.needs("linux_proc")
def test_what_large_bodies_took_is_given_back() -> None:
    keep_large_blocks_apart()
    host = LinuxHost()
    before = host.tree_memory_bytes()
    bodies = [b"".join(bytes([n % 250]) * 65_536 for _ in range(300)) for n in range(10)]
    during = host.tree_memory_bytes()
    del bodies
    trim()
    after = host.tree_memory_bytes()
    assert before is not None
    assert during is not None
    assert after is not None
    assert during - before > 150 * MIB
    assert after - before < 60 * MIB
