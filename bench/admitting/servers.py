"""Real servers for the store rows: a given URL, or a throw-away one that lives as long as the run.

The throw-away ones are those of the tests. PostgreSQL syncs every commit to the disk here, as it
would in service. Nothing flushes a server: every run has key names of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from admitting.peers import require
from admitting.table import NotMeasured


class Servers:
    """Starts a server when a row first asks for it. A context manager that ends what it started."""

    def __init__(self, *, redis_url: str = "", postgres_url: str = "") -> None:
        self._urls = {"redis": redis_url, "postgresql": postgres_url}
        self._stack = ExitStack()

    def redis(self) -> str:
        """Return the URL of a Redis or Valkey.

        Raises:
            NotMeasured: there is none, or no client to look at it with.
        """
        require("redis")
        require("hiredis")
        return self._url("redis", _new_valkey)

    def postgresql(self) -> str:
        """Return the URL of a PostgreSQL; raises as `redis` does."""
        require("psycopg")
        return self._url("postgresql", _new_postgres)

    def sqlite(self) -> str:
        """Return the URL of a database file that is not there yet."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-"))
        return f"sqlite:///{Path(folder) / 'admission.db'}"

    def _url(self, kind: str, make: Callable[[], AbstractContextManager[Any]]) -> str:
        if not self._urls[kind]:
            self._urls[kind] = self._stack.enter_context(make()).url
        return self._urls[kind]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _new_valkey() -> AbstractContextManager[Any]:
    from tests.servers.found import valkey_binary
    from tests.servers.valkey import Valkey

    if valkey_binary() is None:
        raise NotMeasured("no Valkey or Redis here")
    return Valkey()


def _new_postgres() -> AbstractContextManager[Any]:
    from tests.servers.found import postgres_folder
    from tests.servers.postgres import Postgres

    if postgres_folder() is None:
        raise NotMeasured("no PostgreSQL here")
    return Postgres(fsync=True)
