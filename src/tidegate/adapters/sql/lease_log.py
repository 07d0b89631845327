"""Leases in SQLite, so that the next process knows what the last one had granted."""

from __future__ import annotations

import sqlite3

import msgspec

from tidegate.adapters.sql.database import Database
from tidegate.domain.lease import LeaseRecord
from tidegate.errors import StoreUnavailable

_PUT = """
    INSERT INTO leases VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        tenant = excluded.tenant, expires_us = excluded.expires_us, record = excluded.record"""


class SqlLeaseLog:
    """`LeaseLog` in a SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, record: LeaseRecord) -> None:
        """Write a lease, or its new expiry."""
        row = (record.id, record.claim.tenant, record.expires_us, msgspec.msgpack.encode(record))
        await self._database.write(lambda connection: connection.execute(_PUT, row).rowcount)

    async def forget(self, lease_ids: list[str]) -> None:
        """Remove leases that ended. Unknown ids are ignored."""
        rows = [(lease_id,) for lease_id in lease_ids]
        await self._database.write(
            lambda connection: (
                connection.executemany("DELETE FROM leases WHERE id = ?", rows).rowcount
            )
        )

    async def load(self) -> list[LeaseRecord]:
        """Return every lease that was not forgotten, also expired ones.

        Raises:
            StoreUnavailable: a record is damaged. Leaving it out would grant its units twice.
        """
        return await self._database.read(_load)


def _load(connection: sqlite3.Connection) -> list[LeaseRecord]:
    records = []
    for lease_id, packed in connection.execute("SELECT id, record FROM leases ORDER BY id"):
        try:
            records.append(msgspec.msgpack.decode(packed, type=LeaseRecord))
        except msgspec.MsgspecError as error:
            raise StoreUnavailable(f"the record of lease {lease_id!r} is damaged") from error
    return records
