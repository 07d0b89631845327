"""One PostgreSQL server.

It refuses to run as root, so there it runs as the account `postgres`, or else as `nobody`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.servers.child import START_S, Child, account_of
from tests.servers.found import postgres_folder

_STATUS_LINE = 7
"""Of postmaster.pid: what `pg_ctl` looks at, too."""


class Postgres(Child):
    """A single server with one superuser, `tidegate`, whose password is in the URL.

    Args:
        fsync: Commits reach the disk. Without it they outlive the process, not the machine.
        options: Further configuration, such as {"max_connections": "20"}.
    """

    name = "postgres"
    user = "postgres"

    def __init__(self, *, fsync: bool = False, options: dict[str, str] | None = None) -> None:
        super().__init__()
        self.data = self.folder / "data"
        self.password = secrets.token_hex(8)
        self.options = {"fsync": "on" if fsync else "off", **(options or {})}

    @property
    def url(self) -> str:
        """Where it is, for a client."""
        return f"postgresql://tidegate:{self.password}@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        if not self.data.exists():
            self._make_cluster()
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            **self.options,
        }
        words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return [_binary("postgres"), "-D", str(self.data), *words]

    def is_ready(self) -> bool:
        with suppress(OSError, IndexError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return lines[0] == str(self.pid) and lines[_STATUS_LINE].strip() == "ready"
        return False

    def _make_cluster(self) -> None:
        account = account_of(self.user)
        password = self.folder / "password"
        password.write_text(self.password)
        if account is not None:
            os.chown(password, account.pw_uid, account.pw_gid)
        done = subprocess.run(
            [
                *(_binary("initdb"), "-D", str(self.data), "-U", "tidegate"),
                *("--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"),
                *("--encoding=UTF8", "--no-locale"),
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        assert done.returncode == 0, done.stderr


def _binary(name: str) -> str:
    folder: Path | None = postgres_folder()
    assert folder, "there is no PostgreSQL here"
    return str(folder / name)
