"""One listening server, and all that a connection to it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.adapters.redis.tls import Tls


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A listening socket: a host and its port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A node, and how one gets in. As text it is the node alone."""

    node: Node
    user: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    tls: Tls | None = None

    def __str__(self) -> str:
        return str(self.node)
