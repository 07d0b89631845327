"""PgBouncer before a PostgreSQL, lending its sessions by the transaction.

It refuses to run as root, so there it runs as the account `postgres`, or else as `nobody`.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.servers.child import Child
from tests.servers.found import pgbouncer_binary
from tests.servers.postgres import Postgres


class PgBouncer(Child):
    """A pooler with few sessions, so that clients get another one each time."""

    name = "pgbouncer"
    user = "postgres"

    def __init__(self, server: Postgres, *, sessions: int = 3) -> None:
        super().__init__()
        self._server, self._sessions = server, sessions

    @property
    def url(self) -> str:
        """Where it is, for a client."""
        return f"postgresql://tidegate:any@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        binary = pgbouncer_binary()
        assert binary, "there is no PgBouncer here"
        server = f"host=127.0.0.1 port={self._server.port} user=tidegate"
        settings = self.folder / "pgbouncer.ini"
        settings.write_text(
            f"""[databases]
* = {server} password={self._server.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {self._sessions}
""",
            encoding="utf-8",
        )
        return [binary, str(settings)]

    def is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False
