"""Tenants, their keys, and the record of who changed them."""

from __future__ import annotations

from typing import Protocol

from tidegate.domain.tenant import ApiKey, AuditEntry, Directory, Tenant


class TenantStore(Protocol):
    """Durable when a call returns. Every change and its audit entry are one transaction."""

    async def load(self) -> Directory:
        """Return every tenant and key, as of one moment."""
        ...

    def version(self) -> int:
        """Return a number that differs after anybody, also another process, changed the store.

        Cheap enough to ask on every unknown key: no transaction, no wait for writers.
        """
        ...

    async def put(self, tenant: Tenant, *, expected_generation: int, audit: AuditEntry) -> Tenant:
        """Write the tenant, generation raised by one. Expected 0 creates it.

        Raises:
            TenantExists: expected 0, and the id is taken, or was by a deleted tenant.
            TenantUnknown: there is no such tenant, or it was deleted.
            GenerationConflict: somebody else was first.
        """
        ...

    async def delete(self, tenant_id: str, *, audit: AuditEntry) -> None:
        """Remove the tenant, its keys and stored answers; its id is not given out again.

        Raises:
            TenantUnknown: there is no such tenant.
        """
        ...

    async def add_key(self, key: ApiKey, *, audit: AuditEntry) -> None:
        """Add a credential.

        Raises:
            TenantUnknown: there is no such tenant.
        """
        ...

    async def revoke_key(self, tenant_id: str, key_id: str, *, audit: AuditEntry) -> None:
        """Remove a credential; it is refused from the next load on.

        Raises:
            NotFound: the tenant has no such key.
        """
        ...

    async def audit(self, *, tenant_id: str | None, limit: int) -> list[AuditEntry]:
        """Return the newest entries first, of one tenant or of all."""
        ...

    async def note(self, audit: AuditEntry) -> None:
        """Write an audit entry of something that is no change of a tenant."""
        ...
