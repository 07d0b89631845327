"""The real servers of the tests: they start, die, hang, come back, and leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from tests.servers import leftovers
from tests.servers.postgres import Postgres
from tests.servers.resp import ask
from tests.servers.valkey import Valkey

pytest_plugins = ["tests.servers.fixtures"]

SOON_S = 30.0


@pytest.mark.needs("valkey_own")
def test_valkey_keeps_what_it_acknowledged(own_valkey: Valkey) -> None:
    assert own_valkey.ask("SET", "key", "value") == b"OK"
    port, pid = own_valkey.port, own_valkey.pid
    own_valkey.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(port, "PING")
    own_valkey.restart()
    assert (own_valkey.port, own_valkey.pid != pid) == (port, True)
    assert own_valkey.ask("GET", "key") == b"value"


@pytest.mark.needs("valkey_own")
def test_a_frozen_server_answers_once_it_is_thawed(own_valkey: Valkey) -> None:
    own_valkey.freeze()
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(own_valkey.ask("PING")))
    asking.start()
    assert (own_valkey.is_frozen(), answers) == (True, [])
    own_valkey.thaw()
    asking.join(SOON_S)
    assert (own_valkey.is_frozen(), answers) == (False, [b"PONG"])


@pytest.mark.needs("postgres_own")
def test_postgres_keeps_what_it_committed(own_postgres: Postgres) -> None:
    with psycopg.connect(own_postgres.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    own_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_postgres.url)
    own_postgres.restart()
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@pytest.mark.needs("postgres")
def test_each_test_has_a_database_of_its_own(postgres_url: str, shared_postgres: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        name = connection.info.dbname
        assert name in postgres_url
        assert name not in shared_postgres
        tables = connection.execute("SELECT * FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchall() == []


ABANDON = """
import sys
from tests.servers.postgres import Postgres
from tests.servers.valkey import Valkey
valkey, postgres = Valkey().start(), Postgres().start()
postgres.freeze()
print(valkey.folder.parent, flush=True)
sys.stdin.read()
"""


@pytest.mark.needs("valkey_own", "postgres_own")
def test_nothing_outlives_killed_tests() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", ABANDON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        assert len(leftovers.processes_below(folder)) > 2
        child.send_signal(signal.SIGKILL)
    end_s = time.monotonic() + SOON_S
    while folder.exists() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert not folder.exists()
    assert leftovers.processes_below(folder) == []


@pytest.mark.needs("valkey_own")
def test_a_closed_server_leaves_nothing() -> None:
    with Valkey(password="secret") as server:
        assert "secret" in server.url
        folder, pid = server.folder, server.pid
        assert server.ask("ECHO", "here") == b"here"
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()
