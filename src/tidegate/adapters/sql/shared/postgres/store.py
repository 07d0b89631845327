"""A shared store in PostgreSQL, for threads: one transaction for each batch, two waits for it."""

from __future__ import annotations

import time
from contextlib import suppress
from hashlib import blake2b

import msgspec

from tidegate.adapters.sql.shared.loaded import Loaded
from tidegate.adapters.sql.shared.names import key, shortened
from tidegate.adapters.sql.shared.postgres import loading, saving
from tidegate.adapters.sql.shared.postgres.address import Address
from tidegate.adapters.sql.shared.postgres.arrays import read_bytes_array
from tidegate.adapters.sql.shared.postgres.failures import RACED, unavailable
from tidegate.adapters.sql.shared.postgres.link import Call, Link, LinkLost, ServerError
from tidegate.adapters.sql.shared.postgres.schema import Server, check
from tidegate.adapters.sql.shared.postgres.terms import terms
from tidegate.adapters.sql.shared.reach import Found, Reach
from tidegate.adapters.sql.shared.sweeping import Sweep
from tidegate.adapters.sql.shared.turns import Turns
from tidegate.domain.batch import Batch, Reply
from tidegate.domain.shared import handle, kept
from tidegate.errors import StoreUnavailable

TIMEOUT_S = 2.0
ATTEMPTS_MAX = 20
"""Each finds more of what the batch touches, or a row that was swept away; one is usual."""

_reply = msgspec.msgpack.Decoder(Reply)


class PostgresBlockingStore:
    """`BlockingStore` in PostgreSQL 12 or newer.

    Args:
        url: postgresql://user:password@host:port/database, as libpq reads it.
        timeout_s: How long a batch may take, and how long it may hold up others.

    Raises:
        InvalidSetting: the URL is none.
        ExtraMissing: the client library is not installed.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.address = Address(url)
        self._timeout_s = timeout_s
        self._turns = Turns(f"the store at {self.address}", timeout_s)
        self._link: Link | None = None
        self.server: Server | None = None
        """What the last connection said of the server."""
        self._begin: list[Call] = []
        self._flush: list[Call] = []
        self._sweep = Sweep()

    def connect(self) -> None:
        """See `BlockingStore`."""
        if self._turns.forked:
            # The parent's connection is the parent's: it is not even closed here.
            self._link = None
        self._turns.begin()
        with self._turns.turn():
            self._drop()
            link = self.address.open(self._timeout_s)
            try:
                end_s = time.monotonic() + self._timeout_s
                self.server = check(link, str(self.address), end_s)
                self._begin = terms(link, self.server, self._timeout_s, end_s)
                self._flush = [(saving.FLUSH, ())] if self.server.durable else []
            except (ServerError, LinkLost) as error:
                link.close()
                raise self.address.failure(error) from error
            except BaseException:
                link.close()
                raise
            self._link = link

    def apply(self, batch: Batch) -> Reply:
        """See `BlockingStore`."""
        with self._turns.turn():
            if self._link is None:
                raise StoreUnavailable(f"the store at {self.address}: not connected")
            try:
                return self._apply(self._link, shortened(batch))
            except (ServerError, LinkLost) as error:
                self._drop()
                raise unavailable(error, str(self.address)) from error
            except BaseException:
                # A transaction is open, and nobody goes on with it.
                self._drop()
                raise

    def close(self) -> None:
        """See `BlockingStore`."""
        if self._turns.forked:
            return
        with suppress(StoreUnavailable), self._turns.turn():
            self._drop()

    def _apply(self, link: Link, batch: Batch) -> Reply:
        end_s = time.monotonic() + self._timeout_s
        reach = Reach(batch)
        first: list[Call] = []
        for _ in range(ATTEMPTS_MAX):
            found = self._load(link, batch, reach, first, end_s)
            first = [(loading.ROLLBACK, ())]
            if reach.grow(found):
                continue
            loaded = Loaded(batch, reach, found)
            before = kept(loaded.world, batch, found.now_us)
            if before is not None:
                # It was applied, but perhaps the disk does not know of it yet.
                link.run([*first, *self._flush], end_s)
                return _reply.decode(before)
            reply = _reply.decode(handle(loaded.world, batch, found.now_us))
            try:
                self._save(link, batch, loaded, reply, end_s)
            except ServerError as error:
                if error.state not in RACED:
                    raise
            else:
                return reply
        raise ServerError("22012", "the rows changed each time they were read")

    def _load(
        self, link: Link, batch: Batch, reach: Reach, first: list[Call], end_s: float
    ) -> Found:
        """Lock and read what is within reach."""
        attempt = loading.Loading(batch, reach)
        head = [*first, *self._begin]
        results = link.run([*head, *attempt.calls], end_s)
        return attempt.found(results[len(head) :])

    def _save(self, link: Link, batch: Batch, loaded: Loaded, reply: Reply, end_s: float) -> None:
        channels = [channel(name) for name in reply.woken if name != batch.member]
        changes = loaded.changes()
        calls = saving.save(changes, channels)
        rows = self._sweep.rows(len(changes.cells_new) + len(changes.ids_new))
        swept = saving.sweeps(self._sweep, rows, key(batch.member), reply.now_us) if rows else {}
        end = [(saving.COMMIT, ()), *self._flush]
        results = link.run([*calls, *swept.values(), *end], end_s)
        for table, result in zip(swept, results[len(calls) :], strict=False):
            keys = result.get_value(0, 0)
            # Not in the order in which they were looked at.
            seen = read_bytes_array(keys) if keys else []
            self._sweep.went(table, max(seen) if len(seen) == rows else b"")

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def channel(member: str) -> str:
    """Return where a member hears that it was woken."""
    return f"tidegate_{blake2b(key(member), digest_size=16).hexdigest()}"
