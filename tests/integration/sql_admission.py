"""What the tests of the SQL stores share; as a script, what they run in processes of their own.

claim URL MEMBER BATCHES   sends so many batches of one unit each, prints the answers it got
stuck URL TIMEOUT_S        prints "held" in the middle of a transaction, and stays there
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tidegate.adapters.sql.shared.loaded import Changes, Loaded
from tidegate.adapters.sql.shared.postgres.store import PostgresBlockingStore
from tidegate.adapters.sql.shared.sqlite.store import SqliteBlockingStore
from tidegate.domain.batch import Admit, Batch, Call, Levels, Look, Reply, Yes
from tidegate.domain.rule import STOCK, Rule
from tidegate.errors import StoreUnavailable

Store = PostgresBlockingStore | SqliteBlockingStore

TTL_US = 600_000_000
ROOM = Rule(kind=STOCK, ceiling=2**50)
HOLD = Admit((0, 0, 1), "x")
PATIENT_S = 60.0


def store_at(url: str, timeout_s: float = PATIENT_S) -> Store:
    """Return the store behind a URL, not connected yet."""
    if url.startswith("sqlite:///"):
        return SqliteBlockingStore(url.removeprefix("sqlite:///"), timeout_s=timeout_s)
    return PostgresBlockingStore(url, timeout_s=timeout_s)


def sqlite_url(folder: Path) -> str:
    """Return the URL of a file that is not there yet."""
    return f"sqlite:///{folder / 'admission.db'}"


@contextmanager
def connected(url: str, timeout_s: float = PATIENT_S) -> Iterator[Store]:
    """Connect, and let go."""
    store = store_at(url, timeout_s)
    store.connect()
    try:
        yield store
    finally:
        store.close()


def batch(seq: int, *calls: Call, member: str = "m", **fields: Any) -> Batch:
    """Return a batch about one capacity, by the store's own clock."""
    whole = Batch(member, seq, TTL_US, True, 0, (ROOM,), ("room",), calls)
    return msgspec.structs.replace(whole, **fields)


def amount(store: Store, cell: str = "room") -> int:
    """Return how much of a cell is held."""
    reply = store.apply(batch(0, Look((0,)), member="looks", cells=(cell,)))
    (answer,) = reply.answers
    assert isinstance(answer, Levels)
    return answer.levels[0]


def persist(store: Store, sent: Batch) -> Reply:
    """Send a batch until its reply arrives, as a session does."""
    end_s = time.monotonic() + PATIENT_S
    while True:
        try:
            return store.apply(sent)
        except StoreUnavailable:
            assert time.monotonic() < end_s
            reconnect(store)


def reconnect(store: Store) -> None:
    """Connect as soon as that is possible."""
    end_s = time.monotonic() + PATIENT_S
    while True:
        try:
            store.connect()
        except StoreUnavailable:
            assert time.monotonic() < end_s
            time.sleep(0.01)
        else:
            return


def claim(url: str, member: str, batches: int) -> None:
    """Take a unit of the common cell, and one of a cell that changes, with each batch."""
    with connected(url) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(1, batches + 1):
            cells = tuple(f"cell-{(number * 7 + index) % 50}" for index in range(20))
            calls = [Admit((20, 0, 1, index, 0, 1), "x") for index in range(20)]
            sent = batch(number, *calls, member=member, cells=(*cells, "room"))
            granted = sum(isinstance(answer, Yes) for answer in persist(store, sent).answers)
            print(granted, flush=True)


def stuck(url: str, timeout_s: float) -> None:
    """Stop while rows are locked."""

    def stop(_: Loaded) -> Changes:
        print("held", flush=True)
        while True:
            time.sleep(60)

    with connected(url, timeout_s) as store:
        setattr(Loaded, "changes", stop)  # noqa: B010 - Only here, and only for this process.
        store.apply(batch(1, HOLD, member="stuck"))


if __name__ == "__main__":
    verb, url, *rest = sys.argv[1:]
    if verb == "claim":
        claim(url, rest[0], int(rest[1]))
    else:
        stuck(url, float(rest[0]))
