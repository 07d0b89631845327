"""One Valkey or Redis server."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import hiredis

from tests.servers.child import Child
from tests.servers.found import valkey_binary
from tests.servers.resp import ask


class Valkey(Child):
    """A single server.

    Args:
        password: Of the user `default`; empty: none is asked for.
        durable: What was acknowledged survives `kill` and `restart`; otherwise they empty it.
        replica_of: The port of the primary that it follows from the start.
        options: Further configuration, such as {"maxmemory": "10mb"}.
    """

    name = "valkey"

    def __init__(
        self,
        *,
        password: str = "",
        durable: bool = False,
        replica_of: int | None = None,
        options: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.password, self.durable = password, durable
        self.options, self._replica_of = options or {}, replica_of

    @property
    def url(self) -> str:
        """Where it is, for a client."""
        credentials = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{credentials}127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> str:
        """Its unix socket, which answers, too."""
        return str(self.folder / "s")

    def ask(self, *words: str | bytes | int) -> Any:
        """Return the answer to a command, over a connection of its own."""
        return ask(self.port, *words, password=self.password)

    def flush(self) -> None:
        """Forget all data and scripts."""
        self.ask("FLUSHALL")
        self.ask("SCRIPT", "FLUSH")

    def is_primary(self) -> bool:
        """Whether it takes writes, as far as it knows."""
        return bool(self.ask("ROLE")[0] == b"master")

    def is_in_step(self) -> bool:
        """Whether it is a replica that has all its primary has, and hears of more."""
        role, *rest = self.ask("ROLE")
        return bool(role == b"slave" and rest[2] == b"connected")

    def command(self) -> list[str]:
        binary = valkey_binary()
        assert binary, "there is no Valkey here"
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": self.socket_path,
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            # Written before the answer leaves; it outlives the process without a sync.
            "appendfsync": "no",
            **({"requirepass": self.password} if self.password else {}),
            **self.options,
        }
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        if self._replica_of is not None:
            words += ["--replicaof", "127.0.0.1", str(self._replica_of)]
        return [binary, *words]

    def is_ready(self) -> bool:
        try:
            # Its own number, lest another server on the port answers for it.
            server = self.ask("INFO", "server")
            return f"process_id:{self.pid}\r\n".encode() in server and self.ask("PING") == b"PONG"
        except (OSError, hiredis.ReplyError):
            return False
