"""Fixtures every test may use."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.plugin", "pytester"]


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, the loop that the service runs on."""
    return "asyncio"
