"""Each suite runs once for every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.stores import BACKENDS, Open, Stores


@pytest.fixture(params=BACKENDS)
def open_stores(request: pytest.FixtureRequest) -> Open:
    return BACKENDS[request.param]


@pytest.fixture
async def stores(open_stores: Open, tmp_path: Path) -> AsyncIterator[Stores]:
    async with open_stores(tmp_path) as opened:
        yield opened
