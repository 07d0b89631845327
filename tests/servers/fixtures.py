"""Fixtures over real servers; a test module takes them with `pytest_plugins`.

The shared ones live for the whole test run and may be somebody else's (a given URL): what is in
them is flushed before each test. Whoever kills or freezes takes one of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.servers import found
from tests.servers.cluster import Cluster
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.sentinel import Sentinels
from tests.servers.valkey import Valkey
from tidegate.adapters.redis.address import parse_address
from tidegate.adapters.redis.endpoint import Endpoint


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[str]:
    """The URL of a Valkey that all tests share."""
    if found.REDIS_URL:
        yield found.REDIS_URL
        return
    with Valkey() as server:
        yield server.url


@pytest.fixture
def redis_url(shared_valkey: str) -> str:
    """The URL of a real server that is empty, also of scripts. Needs `valkey`."""
    import redis

    with redis.Redis.from_url(shared_valkey) as client:
        client.flushdb()
        client.script_flush()
    return shared_valkey


@pytest.fixture
def redis_endpoint(redis_url: str) -> Endpoint:
    """The same server, as the wires want it."""
    return parse_address(redis_url).endpoint()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A server that this test alone uses, and may kill, freeze and restart. Needs `valkey_own`."""
    with Valkey(durable=True) as server:
        yield server


@pytest.fixture
def valkey_proxy(own_valkey: Valkey) -> Iterator[Proxy]:
    """A way to `own_valkey` that can be disturbed."""
    with Proxy(own_valkey.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def shared_sentinels() -> Iterator[Sentinels]:
    """A group that all tests share; nobody ends a part of it."""
    with Sentinels() as group:
        yield group


@pytest.fixture
def sentinel_url(shared_sentinels: Sentinels) -> str:
    """The URL of a group of three servers and three sentinels, empty. Needs `valkey_own`."""
    shared_sentinels.primary().flush()
    return shared_sentinels.url


@pytest.fixture
def own_sentinels() -> Iterator[Sentinels]:
    """A group that this test alone uses, and may fail over. Needs `valkey_own`; takes a second."""
    with Sentinels() as group:
        yield group


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """A cluster that all tests share; nobody ends a part of it."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster_url(shared_cluster: Cluster) -> str:
    """The URL of a cluster of three primaries and three replicas, empty. Needs `valkey_own`."""
    shared_cluster.flush()
    return shared_cluster.url


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster that this test alone uses, and may fail over. Needs `valkey_own`; takes seconds."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[str]:
    """The URL of a PostgreSQL that all tests share, for a user who may create databases."""
    if found.POSTGRES_URL:
        yield found.POSTGRES_URL
        return
    with Postgres() as server:
        yield server.url


@pytest.fixture
def postgres_url(shared_postgres: str) -> Iterator[str]:
    """The URL of an empty database. Needs `postgres`."""
    import psycopg

    name = f"tidegate_{secrets.token_hex(8)}"
    with psycopg.connect(shared_postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            parts = urlsplit(shared_postgres)
            query = f"?{parts.query}" if parts.query else ""
            yield f"{parts.scheme}://{parts.netloc}/{name}{query}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that this test alone uses, and may kill and restart. Needs `postgres_own`."""
    with Postgres() as server:
        yield server
