"""Fixtures every test may use."""

from __future__ import annotations

import signal

import pytest

pytest_plugins = ["tests.plugin", "pytester"]


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start.

    A shell has what it runs in the background ignore SIGINT, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, the loop that the service runs on."""
    return "asyncio"
