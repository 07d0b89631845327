"""What the tests of the wires share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint, Node

PEM = str(Path(__file__).with_name("tls_test.pem"))
"""A certificate for 127.0.0.1 and its key, signed by itself."""
PATIENT_US = 60_000_000
PATIENT = Bounds(connect_timeout_us=PATIENT_US, deadline_us=PATIENT_US)
SHORT_US = 500_000
SHORT = Bounds(connect_timeout_us=PATIENT_US, deadline_us=SHORT_US)


def at(port: int) -> Endpoint:
    """A server of this machine."""
    return Endpoint(node=Node(host="127.0.0.1", port=port))


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(
            ("asyncio", {"use_uvloop": True}), id="uvloop", marks=pytest.mark.needs("uvloop")
        ),
    ]
)
def both_loops(request: pytest.FixtureRequest) -> Any:
    """The loop of the library's users, and that of the service: they differ in order and timing."""
    return request.param
