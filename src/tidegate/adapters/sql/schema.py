"""The tables, as numbered steps. A released step never changes; a new one is added below it.

`PRAGMA user_version` is the number of the last step taken, `application_id` marks the file as
ours. Tables that hold a tenant's data are keyed by the tenant first, except where a sum over
all tenants in a stretch of time is what they are for.
"""

from __future__ import annotations

import sqlite3

from tidegate.errors import StoreUnavailable

APPLICATION_ID = 0x54494445
"""The letters TIDE."""

_FIRST = (
    "CREATE TABLE directory (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)",
    "INSERT INTO directory VALUES (1, 1)",
    """CREATE TABLE tenants (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, plan TEXT NOT NULL,
        owner_id TEXT NOT NULL, owner_name TEXT NOT NULL, owner_email TEXT NOT NULL,
        quotas BLOB NOT NULL, status TEXT NOT NULL, suspended_reason TEXT NOT NULL,
        isolation_level TEXT NOT NULL, generation INTEGER NOT NULL,
        created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE api_keys (
        tenant TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE, id TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE, created_us INTEGER NOT NULL,
        PRIMARY KEY (tenant, id)) WITHOUT ROWID""",
    """CREATE TABLE tombstones (
        number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL,
        generation INTEGER NOT NULL, deleted_us INTEGER NOT NULL)""",
    "CREATE INDEX tombstones_by_tenant ON tombstones (tenant)",
    """CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at_us INTEGER NOT NULL, actor TEXT NOT NULL,
        tenant TEXT NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL)""",
    "CREATE INDEX audit_by_tenant ON audit (tenant, number)",
    """CREATE TABLE usage (
        tenant TEXT NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL, at_us INTEGER NOT NULL,
        failed INTEGER NOT NULL, operations INTEGER NOT NULL, data_bytes INTEGER NOT NULL,
        compute_us INTEGER NOT NULL, taken TEXT NOT NULL,
        PRIMARY KEY (tenant, source, id)) WITHOUT ROWID""",
    # The index holds all that `totals` adds up, so that it never visits the rows.
    """CREATE INDEX usage_by_time
        ON usage (tenant, at_us, failed, operations, data_bytes, compute_us)""",
    # A sum that leaves 64 bits would silently become a rounded number; the check refuses it.
    """CREATE TABLE usage_hours (
        tenant TEXT NOT NULL, hour_us INTEGER NOT NULL,
        operations INTEGER NOT NULL CHECK (typeof(operations) = 'integer'),
        failed INTEGER NOT NULL,
        data_bytes INTEGER NOT NULL CHECK (typeof(data_bytes) = 'integer'),
        compute_us INTEGER NOT NULL CHECK (typeof(compute_us) = 'integer'),
        PRIMARY KEY (tenant, hour_us)) WITHOUT ROWID""",
    """CREATE TABLE taken_hours (
        hour_us INTEGER NOT NULL, tenant TEXT NOT NULL, resource TEXT NOT NULL,
        units INTEGER NOT NULL CHECK (typeof(units) = 'integer'),
        PRIMARY KEY (hour_us, tenant, resource)) WITHOUT ROWID""",
    # With a rowid: bodies are large, and large rows make a bad search tree.
    """CREATE TABLE answers (
        tenant TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, status INTEGER NOT NULL,
        headers BLOB NOT NULL, expires_us INTEGER NOT NULL, body BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX answers_by_key ON answers (tenant, key)",
    "CREATE INDEX answers_by_expiry ON answers (expires_us)",
    """CREATE TABLE leases (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, expires_us INTEGER NOT NULL,
        record BLOB NOT NULL) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

ANSWER_ROW_BYTES = 512
"""What an answer costs beside body and headers: its key, its digest, and two index entries. The
step below has this number in it, so it is as fixed as the step."""

# What each tenant's answers take up, always up to date: adding up a million rows for each new
# answer would let one tenant hold up the writer for all.
_ANSWER_BYTES = (
    """CREATE TABLE answer_bytes (
        tenant TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID""",
    """INSERT INTO answer_bytes
        SELECT tenant, sum(512 + length(body) + length(headers)) FROM answers GROUP BY tenant""",
    """CREATE TRIGGER answer_added AFTER INSERT ON answers BEGIN
        INSERT INTO answer_bytes
            VALUES (NEW.tenant, 512 + length(NEW.body) + length(NEW.headers))
            ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes;
        END""",
    """CREATE TRIGGER answer_replaced AFTER UPDATE ON answers BEGIN
        UPDATE answer_bytes SET bytes = bytes + length(NEW.body) + length(NEW.headers)
            - length(OLD.body) - length(OLD.headers) WHERE tenant = NEW.tenant;
        END""",
    """CREATE TRIGGER answer_gone AFTER DELETE ON answers BEGIN
        UPDATE answer_bytes SET bytes = bytes - 512 - length(OLD.body) - length(OLD.headers)
            WHERE tenant = OLD.tenant;
        DELETE FROM answer_bytes WHERE tenant = OLD.tenant AND bytes = 0;
        END""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _ANSWER_BYTES)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Take every step the file has not taken, each in a transaction of its own.

    Raises:
        StoreUnavailable: the file is from a newer program, or from another one.
    """
    _check(connection, name)
    for number, statements in enumerate(MIGRATIONS, start=1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Asked under the lock: another process may have taken the step meanwhile.
            if _pragma(connection, "user_version") < number:
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _check(connection: sqlite3.Connection, name: str) -> None:
    # In this order: another process may make the tables, and say whose they are, in between.
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    ours = _pragma(connection, "application_id") == APPLICATION_ID
    version = _pragma(connection, "user_version")
    if tables and not ours:
        raise StoreUnavailable(f"{name} is a database of another program: choose another file")
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"{name} has schema version {version}, this program knows {len(MIGRATIONS)}: "
            "use the newer tidegate that wrote it"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
