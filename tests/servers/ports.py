"""Free TCP ports of the loopback that stay free while a server is down.

Chosen below the range from which the kernel gives ports to outgoing connections: a server that is
killed and started again finds its own port still there.

Source: ip(7), ip_local_port_range.
"""

from __future__ import annotations

import random
import socket
from contextlib import suppress

LOWEST, HIGHEST = 12_000, 20_000
"""A cluster node also listens 10,000 above its port, and that must be below the range, too."""
BUS_OFFSET = 10_000


def free_port() -> int:
    """Return a port that is free now, with the one of its cluster bus."""
    dice = random.SystemRandom()
    while True:
        port = dice.randrange(LOWEST, HIGHEST)
        if _is_free(port) and _is_free(port + BUS_OFFSET):
            return port


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False
