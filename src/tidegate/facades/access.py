"""Who is calling, by the key they show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.domain.tenant import Tenant
from tidegate.errors import Forbidden, TenantRequired, Unauthenticated
from tidegate.facades.tenants import Tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller: an admin, or a tenant, or an admin acting for a tenant."""

    admin: bool
    tenant: Tenant | None


class Access:
    """Tells callers apart.

    Args:
        is_admin_key: Compares in constant time.
    """

    def __init__(self, tenants: Tenants, *, is_admin_key: Callable[[str], bool]) -> None:
        self._tenants = tenants
        self._is_admin_key = is_admin_key

    async def identify(self, key: str | None, tenant_header: str | None) -> Caller:
        """Say who shows this key.

        Args:
            key: The bearer credential, None if none was shown.
            tenant_header: What the caller says in `X-Tenant-ID`.

        Raises:
            Unauthenticated: no key, or one that nobody has.
            Forbidden: the header names another tenant than the key's.
            TenantUnknown: an admin acts for a tenant that does not exist.
        """
        if not key:
            raise Unauthenticated("show a key: Authorization: Bearer <key>")
        if self._is_admin_key(key):
            tenant = await self._tenants.get(tenant_header) if tenant_header else None
            return Caller(admin=True, tenant=tenant)
        tenant = await self._tenants.authenticate(key)
        if tenant is None:
            raise Unauthenticated("this key belongs to nobody, or was revoked")
        if tenant_header is not None and tenant_header != tenant.id:
            raise Forbidden("X-Tenant-ID names another tenant than the key")
        return Caller(admin=False, tenant=tenant)

    async def admin(self, key: str | None) -> Caller:
        """Say who shows this key, if it is an admin. Raises Unauthenticated or Forbidden."""
        caller = await self.identify(key, None)
        if not caller.admin:
            raise Forbidden("this needs the admin key")
        return caller

    async def tenant(self, key: str | None, tenant_header: str | None) -> Tenant:
        """Return the tenant that calls, or that an admin acts for.

        Raises:
            TenantRequired: an admin who does not say for whom.
            Unauthenticated, Forbidden, TenantUnknown: as `identify`.
        """
        caller = await self.identify(key, tenant_header)
        if caller.tenant is None:
            raise TenantRequired("X-Tenant-ID", tenant_header, "the tenant an admin key acts for")
        return caller.tenant
