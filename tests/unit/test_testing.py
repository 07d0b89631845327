"""The doubles that are shipped to users, and the system's own clock and randomness."""

from __future__ import annotations

import re
import time

import pytest

from tidegate.adapters.system.clock import SystemClock
from tidegate.adapters.system.secrets import SystemSecrets
from tidegate.errors import InvalidRequest
from tidegate.ports.clock import Clock
from tidegate.ports.host import Host
from tidegate.ports.secrets import Secrets
from tidegate.testing import START_US, FakeClock, FakeHost, FakeSecrets


def test_a_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    port: Clock = clock
    assert port.now_us() == port.now_us() == START_US
    clock.advance(seconds=1.5)
    clock.advance(us=1)
    assert port.now_us() == START_US + 1_500_001
    clock.set(START_US - 7)
    assert port.now_us() == START_US - 7
    with pytest.raises(InvalidRequest):
        clock.advance(seconds=-0.1)


def test_the_fake_start_is_the_start_of_a_year() -> None:
    assert time.gmtime(START_US / 1e6)[:6] == (2026, 1, 1, 0, 0, 0)


def test_a_fake_host_uses_what_it_is_told() -> None:
    host = FakeHost(7)
    port: Host = host
    assert port.tree_memory_bytes() == 7
    host.memory_bytes = None
    assert port.tree_memory_bytes() is None


@pytest.mark.parametrize("source", [FakeSecrets(), SystemSecrets()], ids=["fake", "system"])
@pytest.mark.parametrize(("length_bytes", "characters"), [(16, 22), (18, 24), (32, 43)])
def test_tokens_are_url_safe_text_and_differ(
    source: Secrets, length_bytes: int, characters: int
) -> None:
    tokens = [source.token(length_bytes) for _ in range(100)]
    assert len(set(tokens)) == 100
    assert all(re.fullmatch(rf"[A-Za-z0-9_-]{{{characters}}}", token) for token in tokens)


def test_fake_tokens_come_again_in_the_same_order() -> None:
    first, second, other = FakeSecrets(), FakeSecrets(), FakeSecrets("other")
    tokens = [first.token(16) for _ in range(3)]
    assert tokens == [second.token(16) for _ in range(3)]
    assert other.token(16) not in tokens


def test_the_system_clock_is_the_wall_clock_in_microseconds() -> None:
    before_us = time.time_ns() // 1000
    now_us = SystemClock().now_us()
    assert before_us <= now_us <= time.time_ns() // 1000
