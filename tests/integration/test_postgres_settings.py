"""Which servers, users and URLs the store in PostgreSQL takes, and what it says of others."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import pytest

from tests.integration.sql_admission import HOLD, amount, batch, connected, persist, store_at
from tidegate.adapters.sql.shared.postgres import schema
from tidegate.adapters.sql.shared.postgres.store import PostgresBlockingStore
from tidegate.errors import InvalidSetting, StoreUnavailable

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = pytest.mark.needs("postgres")


def replaced(url: str, **parts: str) -> str:
    split = urlsplit(url)
    user, password = parts.get("user", split.username), parts.get("password", split.password)
    host = f"{split.hostname}:{parts.get('port', split.port)}"
    path, query = parts.get("path", split.path), parts.get("query", "")
    return f"postgresql://{user}:{password}@{host}{path}{query}"


@pytest.mark.parametrize(
    ("parts", "error", "said"),
    [
        ({"password": "wrong-secret"}, InvalidSetting, "password"),
        ({"user": "nobody-here"}, InvalidSetting, "password"),
        ({"path": "/nowhere"}, InvalidSetting, "a database that exists"),
        ({"port": "1"}, StoreUnavailable, "refused"),
        (
            {"query": "?options=-cdefault_transaction_read_only%3Don"},
            StoreUnavailable,
            "takes no writes",
        ),
        ({"query": "?options=-csearch_path%3Dnowhere"}, InvalidSetting, "search_path"),
        ({"query": "?sslmode=require"}, InvalidSetting, "sslmode"),
    ],
)
@pytest.mark.needs("postgres_own")
def test_what_is_wrong_is_said_without_the_password(
    postgres_url: str, parts: dict[str, str], error: type[Exception], said: str
) -> None:
    store = store_at(replaced(postgres_url, **parts))
    with pytest.raises(error, match=said) as caught:
        store.connect()
    assert "secret" not in str(caught.value)
    store.close()


@pytest.mark.parametrize("url", ["postgresql://u:se cret@h/db", "postgresql://h:port-secret/db"])
def test_an_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        PostgresBlockingStore(url).connect()
    assert "cret" not in str(caught.value)


def test_a_user_without_rights_is_refused(postgres_url: str) -> None:
    import psycopg

    user = f"guest_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE USER {user} PASSWORD 'guest'")
        try:
            guest = replaced(postgres_url, user=user, password="guest")
            connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            with pytest.raises(InvalidSetting, match="create and change its tables"):
                store_at(guest).connect()
            with connected(postgres_url):
                pass
            with pytest.raises(InvalidSetting, match="create and change its tables"):
                store_at(guest).connect()
            for table in ("store", "cells", "members", "stakes", "ids"):
                connection.execute(
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON tidegate_{table} TO {user}"
                )
            with connected(guest) as store:
                store.apply(batch(1, HOLD))
        finally:
            connection.execute(f"DROP OWNED BY {user}")
            connection.execute(f"DROP USER {user}")


def test_an_old_server_and_other_tables_are_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "SERVER_VERSION_MIN", 990_000)
        with pytest.raises(InvalidSetting, match="PostgreSQL 99 or newer"):
            store_at(postgres_url).connect()
    with connected(postgres_url):
        pass
    monkeypatch.setattr(schema, "VERSION", 2)
    with pytest.raises(InvalidSetting, match="tables of version 2; these, of version 1"):
        store_at(postgres_url).connect()


def test_tables_that_were_dropped_are_made_again(postgres_url: str) -> None:
    import psycopg

    with connected(postgres_url) as store:
        store.apply(batch(1, HOLD))
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            for table in ("store", "cells", "members", "stakes", "ids"):
                connection.execute(f"DROP TABLE tidegate_{table}")
        with pytest.raises(StoreUnavailable, match="dropped"):
            store.apply(batch(2, HOLD))
        persist(store, batch(2, HOLD))
        assert amount(store) == 1


def test_the_first_host_that_takes_writes_is_used(postgres_url: str) -> None:
    split = urlsplit(postgres_url)
    hosts = f"127.0.0.1:1,{split.hostname}:{split.port}"
    url = f"postgresql://{split.username}:{split.password}@{hosts}{split.path}"
    with connected(url) as store:
        store.apply(batch(1, HOLD))
