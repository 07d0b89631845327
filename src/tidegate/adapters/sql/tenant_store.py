"""Tenants, keys and audit entries in SQLite.

Every change raises one number in the same transaction: `version` reads it, so it moves when the
directory does, whichever process changed it, and stands still under any load of usage rows.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from tidegate.adapters.sql.database import Database
from tidegate.domain.tenant import ApiKey, AuditEntry, Directory, Owner, Tenant
from tidegate.errors import (
    Conflict,
    GenerationConflict,
    InvalidRequest,
    NotFound,
    TenantExists,
    TenantUnknown,
)

AUDIT_LIMIT_MAX = 10_000

_TENANTS = (
    "SELECT id, name, plan, owner_id, owner_name, owner_email, quotas, status, suspended_reason,"
    " isolation_level, generation, created_us, updated_us FROM tenants"
)
# An upsert, because REPLACE would delete the row first and its keys with it.
_PUT = """
    INSERT INTO tenants VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name, plan = excluded.plan, owner_id = excluded.owner_id,
        owner_name = excluded.owner_name, owner_email = excluded.owner_email,
        quotas = excluded.quotas, status = excluded.status,
        suspended_reason = excluded.suspended_reason,
        isolation_level = excluded.isolation_level, generation = excluded.generation,
        created_us = excluded.created_us, updated_us = excluded.updated_us"""
_VERSION = "SELECT version FROM directory"

Change = Callable[[sqlite3.Connection], None]


class SqlTenantStore:
    """`TenantStore` in a SQLite file that other processes may change at the same time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Directory:
        """Return every tenant and key, as of one moment."""
        return await self._database.read(_load)

    def version(self) -> int:
        """Return the number of the directory's last change, by any process."""
        return int(self._database.peek(_VERSION))

    async def put(self, tenant: Tenant, *, expected_generation: int, audit: AuditEntry) -> Tenant:
        """Write the tenant, generation raised by one. Expected 0 creates it."""
        written = replace(tenant, generation=expected_generation + 1)
        await self._change(functools.partial(_put, tenant=written), audit)
        return written

    async def delete(self, tenant_id: str, *, audit: AuditEntry) -> None:
        """Remove the tenant, its keys and stored answers; leave a tombstone."""
        change = functools.partial(_delete, tenant_id=tenant_id, deleted_us=audit.at_us)
        await self._change(change, audit)

    async def add_key(self, key: ApiKey, *, audit: AuditEntry) -> None:
        """Add a credential."""
        await self._change(functools.partial(_add_key, key=key), audit)

    async def revoke_key(self, tenant_id: str, key_id: str, *, audit: AuditEntry) -> None:
        """Remove a credential; it is refused from the next load on."""
        change = functools.partial(_revoke_key, tenant_id=tenant_id, key_id=key_id)
        await self._change(change, audit)

    async def audit(self, *, tenant_id: str | None, limit: int) -> list[AuditEntry]:
        """Return the newest entries first, of one tenant or of all.

        Raises:
            InvalidRequest: the limit is out of range.
        """
        if not 1 <= limit <= AUDIT_LIMIT_MAX:
            raise InvalidRequest("limit", limit, f"1..{AUDIT_LIMIT_MAX}")
        return await self._database.read(
            functools.partial(_audit, tenant_id=tenant_id, limit=limit)
        )

    async def note(self, audit: AuditEntry) -> None:
        """Write an audit entry."""
        await self._database.write(functools.partial(_note, audit=audit))

    async def _change(self, change: Change, audit: AuditEntry) -> None:
        def work(connection: sqlite3.Connection) -> None:
            change(connection)
            _note(connection, audit)
            connection.execute("UPDATE directory SET version = version + 1")

        await self._database.write(work)


def _note(connection: sqlite3.Connection, audit: AuditEntry) -> None:
    connection.execute(
        "INSERT INTO audit (at_us, actor, tenant, action, detail) VALUES (?, ?, ?, ?, ?)",
        (audit.at_us, audit.actor, audit.tenant, audit.action, audit.detail),
    )


def _load(connection: sqlite3.Connection) -> Directory:
    tenants = [_tenant(row) for row in connection.execute(_TENANTS)]
    keys = [
        ApiKey(tenant=tenant, id=key_id, hash=digest, created_us=created_us)
        for tenant, key_id, digest, created_us in connection.execute(
            "SELECT tenant, id, hash, created_us FROM api_keys"
        )
    ]
    return Directory(
        version=connection.execute(_VERSION).fetchone()[0],
        tenants={tenant.id: tenant for tenant in tenants},
        keys={key.hash: key for key in keys},
    )


def _tenant(row: tuple[Any, ...]) -> Tenant:
    return Tenant(
        id=row[0],
        name=row[1],
        plan=row[2],
        owner=Owner(id=row[3], name=row[4], email=row[5]),
        quotas=msgspec.json.decode(row[6], type=dict[str, int]),
        status=row[7],
        suspended_reason=row[8],
        isolation_level=row[9],
        generation=row[10],
        created_us=row[11],
        updated_us=row[12],
    )


def _generation(connection: sqlite3.Connection, tenant_id: str) -> int:
    """Return the stored generation, 0 where there is no such tenant."""
    row = connection.execute("SELECT generation FROM tenants WHERE id = ?", (tenant_id,)).fetchone()
    return 0 if row is None else int(row[0])


def _is_buried(connection: sqlite3.Connection, tenant_id: str) -> bool:
    query = "SELECT EXISTS (SELECT 1 FROM tombstones WHERE tenant = ?)"
    return bool(connection.execute(query, (tenant_id,)).fetchone()[0])


def _put(connection: sqlite3.Connection, *, tenant: Tenant) -> None:
    expected, found = tenant.generation - 1, _generation(connection, tenant.id)
    if expected == 0 and (found or _is_buried(connection, tenant.id)):
        raise TenantExists(tenant.id)
    if expected and not found:
        raise TenantUnknown(tenant.id)
    if expected != found:
        raise GenerationConflict(tenant.id, expected, found)
    owner = tenant.owner
    row = (
        *(tenant.id, tenant.name, tenant.plan, owner.id, owner.name, owner.email),
        *(msgspec.json.encode(tenant.quotas), tenant.status, tenant.suspended_reason),
        *(tenant.isolation_level, tenant.generation, tenant.created_us, tenant.updated_us),
    )
    connection.execute(_PUT, row)


def _delete(connection: sqlite3.Connection, *, tenant_id: str, deleted_us: int) -> None:
    generation = _generation(connection, tenant_id)
    if not generation:
        raise TenantUnknown(tenant_id)
    connection.execute("DELETE FROM tenants WHERE id = ?", (tenant_id,))
    connection.execute("DELETE FROM answers WHERE tenant = ?", (tenant_id,))
    connection.execute(
        "INSERT INTO tombstones (tenant, generation, deleted_us) VALUES (?, ?, ?)",
        (tenant_id, generation, deleted_us),
    )


def _add_key(connection: sqlite3.Connection, *, key: ApiKey) -> None:
    if not _generation(connection, key.tenant):
        raise TenantUnknown(key.tenant)
    try:
        connection.execute(
            "INSERT INTO api_keys (tenant, id, hash, created_us) VALUES (?, ?, ?, ?)",
            (key.tenant, key.id, key.hash, key.created_us),
        )
    except sqlite3.IntegrityError as error:
        raise Conflict(f"key {key.id!r} exists already") from error


def _revoke_key(connection: sqlite3.Connection, *, tenant_id: str, key_id: str) -> None:
    cursor = connection.execute(
        "DELETE FROM api_keys WHERE tenant = ? AND id = ?", (tenant_id, key_id)
    )
    if cursor.rowcount == 0:
        raise NotFound(key_id)


def _audit(
    connection: sqlite3.Connection, *, tenant_id: str | None, limit: int
) -> list[AuditEntry]:
    # By number and not by time: a clock that steps back must not reorder what happened.
    only, values = ("WHERE tenant = ?", (tenant_id, limit)) if tenant_id else ("", (limit,))
    rows = connection.execute(
        f"SELECT at_us, actor, tenant, action, detail FROM audit {only}"  # noqa: S608
        " ORDER BY number DESC LIMIT ?",
        values,
    )
    return [
        AuditEntry(at_us=at_us, actor=actor, tenant=tenant, action=action, detail=detail)
        for at_us, actor, tenant, action, detail in rows
    ]
