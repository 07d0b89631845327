"""From the address of a store to the two ways of asking it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tidegate.bootstrap.sharing import SharedStores
from tidegate.errors import InvalidSetting

SCHEMES = "memory:// | sqlite:///path | postgresql://… | redis://… (rediss, valkey, unix, redis+…)"


def is_memory(url: str) -> bool:
    """Return whether this is the store of one process alone."""
    return url in ("", "memory://")


def stores_of(url: str, *, field: str = "store") -> SharedStores:
    """Return how to reach the store at an address. Nothing is connected yet.

    Raises:
        InvalidSetting: an address that cannot be; it may hold a password, and is not repeated.
        ExtraMissing: the client library of this kind of store is not installed.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in ("postgres", "postgresql"):
        return _postgres(url)
    if scheme == "sqlite":
        return _sqlite(url, field)
    if scheme.startswith("redis") or scheme in ("rediss", "valkey", "valkeys", "unix"):
        return _redis(url, field)
    raise InvalidSetting(field, f"{scheme[:20]}://…", SCHEMES)


def _redis(url: str, field: str) -> SharedStores:
    from tidegate.adapters.redis.address import parse_address
    from tidegate.adapters.redis.admission_store import RedisSharedStore
    from tidegate.adapters.redis.blocking_admission_store import RedisBlockingStore

    address = parse_address(url, setting=field)
    return SharedStores(
        shared=partial(RedisSharedStore, address), blocking=partial(RedisBlockingStore, address)
    )


def _postgres(url: str) -> SharedStores:
    from tidegate.adapters.sql.shared.postgres.listening import PostgresSharedStore
    from tidegate.adapters.sql.shared.postgres.store import PostgresBlockingStore

    # Made once now, so that a wrong address is refused before the first claim.
    PostgresBlockingStore(url)
    return SharedStores(
        shared=partial(PostgresSharedStore, url), blocking=partial(PostgresBlockingStore, url)
    )


def _sqlite(url: str, field: str) -> SharedStores:
    from tidegate.adapters.sql.shared.sqlite.store import SqliteBlockingStore
    from tidegate.adapters.sql.shared.sqlite.watched import SqliteSharedStore

    path = url.removeprefix("sqlite://")
    if not path.startswith("/") or path == "/":
        raise InvalidSetting(field, url, "sqlite:///relative/path or sqlite:////absolute/path")
    file = Path(path[1:])
    return SharedStores(
        shared=partial(SqliteSharedStore, file), blocking=partial(SqliteBlockingStore, file)
    )
