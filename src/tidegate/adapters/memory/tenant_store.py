"""Tenants, keys and audit entries within one process."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import replace

from tidegate.domain.tenant import ApiKey, AuditEntry, Directory, Tenant
from tidegate.errors import (
    Conflict,
    GenerationConflict,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
    TenantExists,
    TenantUnknown,
)

AUDIT_LIMIT_MAX = 10_000


class MemoryTenantStore:
    """`TenantStore` that a restart empties. Only the newest `audit_max` entries are kept.

    Args:
        tenants_max: Most tenants, deleted ones included: their ids are not given out again.
    """

    def __init__(self, *, tenants_max: int = 100_000, audit_max: int = 100_000) -> None:
        self._tenants_max = tenants_max
        self._tenants: dict[str, Tenant] = {}
        self._buried: set[str] = set()
        self._keys: dict[bytes, ApiKey] = {}
        self._audit: deque[AuditEntry] = deque(maxlen=audit_max)
        self._version = 1

    async def load(self) -> Directory:
        """Return every tenant and key, as of one moment."""
        return Directory(version=self._version, tenants=dict(self._tenants), keys=dict(self._keys))

    def version(self) -> int:
        """Return the number of the directory's last change."""
        return self._version

    async def put(self, tenant: Tenant, *, expected_generation: int, audit: AuditEntry) -> Tenant:
        """Write the tenant, generation raised by one. Expected 0 creates it.

        Raises:
            StoreUnavailable: there are, or were, `tenants_max` tenants already.
        """
        found = self._generation(tenant.id)
        if expected_generation == 0 and (found or tenant.id in self._buried):
            raise TenantExists(tenant.id)
        if expected_generation and not found:
            raise TenantUnknown(tenant.id)
        if expected_generation != found:
            raise GenerationConflict(tenant.id, expected_generation, found)
        if not found and len(self._tenants) + len(self._buried) >= self._tenants_max:
            raise StoreUnavailable(f"{self._tenants_max} tenants are kept already")
        written = replace(tenant, generation=expected_generation + 1)
        self._tenants[tenant.id] = written
        self._changed(audit)
        return written

    async def delete(self, tenant_id: str, *, audit: AuditEntry) -> None:
        """Remove the tenant and its keys; remember its id."""
        if self._tenants.pop(tenant_id, None) is None:
            raise TenantUnknown(tenant_id)
        self._buried.add(tenant_id)
        self._keys = {key.hash: key for key in self._keys.values() if key.tenant != tenant_id}
        self._changed(audit)

    async def add_key(self, key: ApiKey, *, audit: AuditEntry) -> None:
        """Add a credential."""
        if not self._generation(key.tenant):
            raise TenantUnknown(key.tenant)
        if key.hash in self._keys or self._find(key.tenant, key.id):
            raise Conflict(f"key {key.id!r} exists already")
        self._keys[key.hash] = key
        self._changed(audit)

    async def revoke_key(self, tenant_id: str, key_id: str, *, audit: AuditEntry) -> None:
        """Remove a credential; it is refused from the next load on."""
        key = self._find(tenant_id, key_id)
        if key is None:
            raise NotFound(key_id)
        del self._keys[key.hash]
        self._changed(audit)

    async def audit(self, *, tenant_id: str | None, limit: int) -> list[AuditEntry]:
        """Return the newest entries first, of one tenant or of all.

        Raises:
            InvalidRequest: the limit is out of range.
        """
        if not 1 <= limit <= AUDIT_LIMIT_MAX:
            raise InvalidRequest("limit", limit, f"1..{AUDIT_LIMIT_MAX}")
        wanted = (entry for entry in reversed(self._audit) if tenant_id in (None, entry.tenant))
        return list(itertools.islice(wanted, limit))

    async def note(self, audit: AuditEntry) -> None:
        """Keep an audit entry."""
        self._audit.append(audit)

    def _generation(self, tenant_id: str) -> int:
        tenant = self._tenants.get(tenant_id)
        return 0 if tenant is None else tenant.generation

    def _find(self, tenant_id: str, key_id: str) -> ApiKey | None:
        found = (key for key in self._keys.values() if (key.tenant, key.id) == (tenant_id, key_id))
        return next(found, None)

    def _changed(self, audit: AuditEntry) -> None:
        self._audit.append(audit)
        self._version += 1
