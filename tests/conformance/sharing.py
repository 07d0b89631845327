"""Servers that gates can share, for the suites that all of them have to pass."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.conformance.worlds import AsyncWorldStore, Server, WorldStore
from tidegate.bootstrap.embedded import memory_store
from tidegate.bootstrap.sharing import SharedStores, SharingTerms, shared_gate
from tidegate.bootstrap.stores import stores_of as url_stores
from tidegate.domain.limit import Limit
from tidegate.domain.policy import Policy
from tidegate.facades.sharing.gate import SharedGate


@contextmanager
def world() -> Iterator[SharedStores]:
    server = Server()
    yield stores_of(server)


def stores_of(server: Server) -> SharedStores:
    return SharedStores(shared=lambda: AsyncWorldStore(server), blocking=lambda: WorldStore(server))


@contextmanager
def sqlite() -> Iterator[SharedStores]:
    with tempfile.TemporaryDirectory() as folder:
        yield url_stores(f"sqlite:///{folder}/gate.db")


SERVERS: dict[str, Callable[[], AbstractContextManager[SharedStores]]] = {
    "world": world,
    "sqlite": sqlite,
}


def gate_on(stores: SharedStores, limits: list[Limit], **options: Any) -> SharedGate:
    """Return a gate as another process would have it: a member of its own."""
    terms = SharingTerms(
        member_ttl_s=options.pop("member_ttl_s", 5.0),
        patience_s=options.pop("patience_s", 0.2),
        local_share=options.pop("local_share", 0.25),
        waiters_max=options.pop("waiters_max", 1_000),
    )
    policy = Policy(limits, **options)
    return shared_gate(policy, stores, memory_store(policy).store, terms)
