"""The tables, made by whoever comes first, and a look at whether this server will do.

Cells and members are updated in place, so their pages keep room for that and no column that changes
is indexed. Replies stay in their row up to the size of a page: moving them elsewhere costs more.

Source: PostgreSQL documentation, 66.7 (heap-only tuples), 66.2 (TOAST).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.adapters.sql.shared.postgres.arrays import number
from tidegate.adapters.sql.shared.postgres.link import Link, ServerError, Statement
from tidegate.errors import InvalidSetting, StoreUnavailable

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

VERSION = 1
SERVER_VERSION_MIN = 120_000

_LOCK = Statement(b"", b"SELECT pg_advisory_xact_lock(%d)" % 0x5449444547415445)
"""The letters TIDEGATE."""
_BEGIN = Statement(b"", b"BEGIN")
_COMMIT = Statement(b"", b"COMMIT")
_ABOUT = Statement(
    b"",
    b"""SELECT pg_backend_pid()::bigint, EXISTS (SELECT FROM pg_class
        WHERE relname = 'tidegate_store' AND pg_table_is_visible(oid))::int::bigint,
        (pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on')::int::bigint,
        (current_setting('synchronous_commit') <> 'off')::int::bigint""",
)
_VERSION = Statement(b"", b"SELECT version::bigint FROM tidegate_store")
_RIGHTS = Statement(
    b"",
    b"""SELECT count(*) FROM unnest(ARRAY['store', 'cells', 'members', 'stakes', 'ids']) AS t,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r
    WHERE NOT has_table_privilege('tidegate_' || t, r)""",
)
_TABLES = (
    b"""CREATE TABLE tidegate_store (
        one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL,
        token bigint NOT NULL)""",
    b"INSERT INTO tidegate_store (version, token) VALUES (%d, 0)" % VERSION,
    b"""CREATE TABLE tidegate_cells (
        key bytea PRIMARY KEY, amount bigint NOT NULL, at_us bigint NOT NULL,
        unit bigint NOT NULL, gone_us bigint NOT NULL, past bytea NOT NULL,
        queue bytea NOT NULL) WITH (fillfactor = 50)""",
    b"""CREATE TABLE tidegate_members (
        name bytea PRIMARY KEY, expires_us bigint NOT NULL, seq bigint NOT NULL,
        token bigint NOT NULL, reply bytea NOT NULL) WITH (fillfactor = 20)""",
    b"ALTER TABLE tidegate_members ALTER COLUMN reply SET STORAGE MAIN",
    b"""CREATE TABLE tidegate_stakes (
        member bytea NOT NULL, cell bytea NOT NULL, units bigint NOT NULL, waits boolean NOT NULL,
        PRIMARY KEY (member, cell)) WITH (fillfactor = 50)""",
    b"""CREATE TABLE tidegate_ids (
        key bytea PRIMARY KEY, digest text NOT NULL, token bigint NOT NULL, member bytea NOT NULL,
        expires_us bigint NOT NULL, held bytea NOT NULL, flags bigint NOT NULL)
        WITH (fillfactor = 70)""",
)


class Server:
    """What one connection says of the server: whether a pooler stands before it, and so on."""

    def __init__(self, link: Link, end_s: float) -> None:
        about = link.run([(_ABOUT, ())], end_s)[0]
        pid, has_tables, takes_no_writes, durable = (_value(about, n) for n in range(4))
        self.pooled = pid != link.connection.backend_pid
        self.has_tables = bool(has_tables)
        self.takes_writes = not takes_no_writes
        self.durable = bool(durable)


def check(link: Link, name: str, end_s: float) -> Server:
    """See that the server can be used, and make the tables where they are missing.

    Raises:
        InvalidSetting: it never can: it is too old, or another version's tables are there.
        StoreUnavailable: it takes no writes now.
        ServerError, LinkLost: it refused, or is gone.
    """
    version = link.connection.server_version
    if version < SERVER_VERSION_MIN:
        allowed = f"PostgreSQL {SERVER_VERSION_MIN // 10_000} or newer, it is {version // 10_000}"
        raise InvalidSetting("store_url", name, allowed)
    server = Server(link, end_s)
    if not server.takes_writes:
        raise StoreUnavailable(f"the store at {name}: it takes no writes: is it a replica?")
    if not server.has_tables:
        _create(link, end_s)
    found, lacking = (
        _value(result, 0) for result in link.run([(_VERSION, ()), (_RIGHTS, ())], end_s)
    )
    if found != VERSION:
        allowed = f"tables of version {VERSION}; these, of version {found}, are for another"
        raise InvalidSetting("store_url", name, f"{allowed} tidegate")
    if lacking:
        raise InvalidSetting("store_url", name, "a user who may read and change its tables")
    return server


def _create(link: Link, end_s: float) -> None:
    tables = [(Statement(b"", text), ()) for text in _TABLES]
    try:
        link.run([(_BEGIN, ()), (_LOCK, ())], end_s)
        # Asked again under the lock: another process may have made them meanwhile. Of the table
        # itself, since names that were not there are remembered until the transaction ends.
        if not Server(link, end_s).has_tables:
            link.run(tables, end_s)
        link.run([(_COMMIT, ())], end_s)
    except ServerError:
        link.close()
        raise


def _value(result: PGresult, column: int) -> int:
    return number(result.get_value(0, column))
