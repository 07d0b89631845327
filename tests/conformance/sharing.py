"""Servers that gates can share, for the suites that all of them have to pass."""

from __future__ import annotations

import atexit
import functools
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.conformance.worlds import AsyncWorldStore, Server, WorldStore
from tests.servers.postgres import Postgres
from tests.servers.valkey import Valkey
from tidegate.bootstrap.embedded import memory_store
from tidegate.bootstrap.sharing import SharedStores, SharingTerms, shared_gate
from tidegate.bootstrap.stores import stores_of as stores_at
from tidegate.domain.limit import Limit
from tidegate.domain.policy import Policy
from tidegate.facades.sharing.gate import SharedGate


@contextmanager
def world() -> Iterator[SharedStores]:
    yield stores_of(Server())


@contextmanager
def sqlite() -> Iterator[SharedStores]:
    with tempfile.TemporaryDirectory() as folder:
        yield stores_at(f"sqlite:///{folder}/gate.db")


@contextmanager
def valkey() -> Iterator[SharedStores]:
    server = _valkey()
    server.flush()
    yield stores_at(server.url)


@contextmanager
def postgres() -> Iterator[SharedStores]:
    import psycopg

    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(_postgres().url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    yield stores_at(_postgres().url.removesuffix("/postgres") + f"/{name}")


@functools.cache
def _valkey() -> Valkey:
    """One server for all tests of a run."""
    server = Valkey().start()
    atexit.register(server.close)
    return server


@functools.cache
def _postgres() -> Postgres:
    """One server for all tests of a run, a database for each."""
    server = Postgres().start()
    atexit.register(server.close)
    return server


def stores_of(server: Server) -> SharedStores:
    return SharedStores(shared=lambda: AsyncWorldStore(server), blocking=lambda: WorldStore(server))


SERVERS: dict[str, Callable[[], AbstractContextManager[SharedStores]]] = {
    "world": world,
    "sqlite": sqlite,
    "valkey": valkey,
    "postgres": postgres,
}
NEEDED = {"valkey": "valkey_own", "postgres": "postgres_own"}

EVERY_SERVER = [
    pytest.param(name, marks=[pytest.mark.needs(NEEDED[name])] if name in NEEDED else [])
    for name in SERVERS
]


def gate_on(stores: SharedStores, limits: list[Limit], **options: Any) -> SharedGate:
    """Return a gate as another process would have it: a member of its own."""
    terms = SharingTerms(
        member_ttl_s=options.pop("member_ttl_s", 5.0),
        patience_s=options.pop("patience_s", 0.2),
        local_share=options.pop("local_share", 0.25),
        waiters_max=options.pop("waiters_max", 1_000),
    )
    others = {name: options.pop(name, None) for name in ("precheck", "on_near")}
    policy = Policy(limits, **options)
    return shared_gate(policy, stores, memory_store(policy).store, terms, **others)
