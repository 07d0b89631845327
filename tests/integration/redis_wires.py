"""What the tests of the wires share."""

from __future__ import annotations

from pathlib import Path

from tidegate.adapters.redis.endpoint import Endpoint, Node
from tidegate.adapters.redis.link import Bounds

PEM = str(Path(__file__).with_name("tls_test.pem"))
"""A certificate for 127.0.0.1 and its key, signed by itself."""
PATIENT = Bounds(deadline_us=60_000_000)
SHORT_US = 200_000
SHORT = Bounds(deadline_us=SHORT_US)


def at(port: int) -> Endpoint:
    """A server of this machine."""
    return Endpoint(node=Node(host="127.0.0.1", port=port))
