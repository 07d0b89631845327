"""Tenants: who they are, what they may use, and the keys they show.

Readers see one frozen directory in memory. Whoever changes a tenant, also from another process,
raises the store's version, and the next look takes over the new directory as a whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tidegate.domain.plan import PLAN_ALIASES, Plan, Quotas
from tidegate.domain.tenant import (
    ApiKey,
    AuditEntry,
    Directory,
    Owner,
    Tenant,
    check_tenant_id,
)
from tidegate.errors import InvalidLimit, InvalidRequest, TenantExists, TenantUnknown
from tidegate.ports.clock import Clock
from tidegate.ports.secrets import Secrets
from tidegate.ports.tenant_store import TenantStore

KEY_PREFIX = "tg_"
NAME_LENGTH_MAX = 200
_EMPTY = Directory(version=-1, tenants={}, keys={})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantChanges:
    """What an update may change; None keeps what is there."""

    name: str | None = None
    plan: str | None = None
    owner: Owner | None = None
    quotas: Mapping[str, int] | None = None


class Tenants:
    """Create, change and remove tenants, and tell whom a key belongs to.

    Args:
        plans: By name; what each grants.

    `changed` is called after each change of the directory, to put new limits in force.
    """

    def __init__(
        self,
        store: TenantStore,
        *,
        clock: Clock,
        secrets: Secrets,
        plans: Mapping[str, Plan],
    ) -> None:
        self._store, self._clock, self._secrets = store, clock, secrets
        self.plans = dict(plans)
        self.changed: Callable[[], None] = lambda: None
        self._directory = _EMPTY
        self._loading = asyncio.Lock()

    @property
    def directory(self) -> Directory:
        """Every tenant and key as of the last look."""
        return self._directory

    async def refresh(self) -> bool:
        """Take over what others changed; say whether there was anything."""
        # One at a time: an earlier look that ends later would bring back what was removed.
        async with self._loading:
            if self._store.version() == self._directory.version:
                return False
            self._directory = await self._store.load()
            self.changed()
            return True

    async def authenticate(self, key: str) -> Tenant | None:
        """Return the tenant a key belongs to, suspended or not; None for an unknown key."""
        digest = hash_key(key)
        found = self._directory.keys.get(digest)
        if found is None and key.startswith(KEY_PREFIX) and await self.refresh():
            found = self._directory.keys.get(digest)
        return None if found is None else self._directory.tenants.get(found.tenant)

    async def get(self, tenant_id: str) -> Tenant:
        """Return a tenant.

        Raises:
            TenantUnknown: there is no such tenant.
        """
        await self.refresh()
        tenant = self._directory.tenants.get(tenant_id)
        if tenant is None:
            raise TenantUnknown(tenant_id)
        return tenant

    async def everyone(self) -> list[Tenant]:
        """Return every tenant, by id."""
        await self.refresh()
        return sorted(self._directory.tenants.values(), key=lambda tenant: tenant.id)

    async def create(
        self,
        *,
        name: str,
        plan: str = "free",
        owner: Owner | None = None,
        quotas: Mapping[str, int] | None = None,
        tenant_id: str | None = None,
        actor: str = "admin",
    ) -> tuple[Tenant, str]:
        """Create a tenant with its first key, which is shown this once.

        Without an id one is made from the name.

        Raises:
            InvalidRequest: naming the field.
            TenantExists: the id is taken, or was once.
        """
        tenant = Tenant(
            id=check_tenant_id(tenant_id) if tenant_id else self._id_from(name),
            name=_check_name(name),
            plan=self._check_plan(plan),
            owner=owner or Owner(),
            quotas=dict(quotas or {}),
            created_us=self._clock.now_us(),
            updated_us=self._clock.now_us(),
        )
        self._check_quotas(tenant)
        try:
            tenant = await self._add(tenant, actor)
        except TenantExists:
            if tenant_id:
                raise
            suffix = self._secrets.token(4).lower()
            tenant = await self._add(replace(tenant, id=f"{tenant.id[:50]}-{suffix}"), actor)
        _, key = await self.issue_key(tenant.id, actor=actor)
        return tenant, key

    async def update(
        self, tenant_id: str, changes: TenantChanges, *, generation: int | None = None
    ) -> Tenant:
        """Change a tenant; its new limits are in force when this returns. Nobody is evicted.

        Raises:
            InvalidRequest: naming the field.
            TenantUnknown: there is no such tenant.
            GenerationConflict: it is not at `generation`, or changed meanwhile.
        """
        tenant = await self.get(tenant_id)
        fresh = replace(
            tenant,
            name=tenant.name if changes.name is None else _check_name(changes.name),
            plan=tenant.plan if changes.plan is None else self._check_plan(changes.plan),
            owner=tenant.owner if changes.owner is None else changes.owner,
            quotas=tenant.quotas if changes.quotas is None else dict(changes.quotas),
        )
        self._check_quotas(fresh)
        given = {name: value for name, value in asdict(changes).items() if value is not None}
        return await self._put(fresh, "tenant.update", generation or tenant.generation, **given)

    async def suspend(self, tenant_id: str, reason: str, *, actor: str = "admin") -> Tenant:
        """Refuse everything the tenant asks for, until it is resumed."""
        tenant = await self.get(tenant_id)
        fresh = replace(tenant, status="suspended", suspended_reason=reason)
        return await self._put(
            fresh, "tenant.suspend", tenant.generation, actor=actor, reason=reason
        )

    async def resume(self, tenant_id: str, *, actor: str = "admin") -> Tenant:
        """Let a suspended tenant in again."""
        tenant = await self.get(tenant_id)
        fresh = replace(tenant, status="active", suspended_reason="")
        return await self._put(fresh, "tenant.resume", tenant.generation, actor=actor)

    async def delete(self, tenant_id: str, *, actor: str = "admin") -> None:
        """Remove a tenant, its keys and its kept answers. Its id is not given out again.

        Raises:
            TenantUnknown: there is no such tenant.
        """
        await self._store.delete(tenant_id, audit=self._audit(actor, tenant_id, "tenant.delete"))
        await self.refresh()

    async def issue_key(self, tenant_id: str, *, actor: str = "admin") -> tuple[ApiKey, str]:
        """Add a key; return it with its text, which is shown this once.

        Raises:
            TenantUnknown: there is no such tenant.
        """
        key_id = re.sub(r"[^A-Za-z0-9]", "x", self._secrets.token(9))
        text = f"{KEY_PREFIX}{key_id}_{self._secrets.token(32)}"
        key = ApiKey(
            id=key_id, tenant=tenant_id, hash=hash_key(text), created_us=self._clock.now_us()
        )
        await self._store.add_key(key, audit=self._audit(actor, tenant_id, "key.issue", key=key_id))
        await self.refresh()
        return key, text

    async def revoke_key(self, tenant_id: str, key_id: str, *, actor: str = "admin") -> None:
        """Remove a key; it is refused from now on.

        Raises:
            NotFound: the tenant has no such key.
        """
        audit = self._audit(actor, tenant_id, "key.revoke", key=key_id)
        await self._store.revoke_key(tenant_id, key_id, audit=audit)
        await self.refresh()

    async def keys(self, tenant_id: str) -> list[ApiKey]:
        """Return the tenant's keys, oldest first, without their texts."""
        await self.get(tenant_id)
        keys = (key for key in self._directory.keys.values() if key.tenant == tenant_id)
        return sorted(keys, key=lambda key: key.created_us)

    async def audit(self, *, tenant_id: str | None, limit: int) -> list[AuditEntry]:
        """Return the newest entries first, of one tenant or of all."""
        return await self._store.audit(tenant_id=tenant_id, limit=limit)

    async def note(self, tenant_id: str, action: str, **detail: Any) -> None:
        """Write into the audit log what an admin did, before it is done."""
        await self._store.note(self._audit("admin", tenant_id, action, **detail))

    def plan(self, tenant: Tenant) -> Plan:
        """Return the tenant's plan; the smallest one if settings no longer know it."""
        return self.plans.get(tenant.plan) or self.plans["free"]

    def quotas(self, tenant: Tenant) -> Quotas:
        """Return what the tenant may use: its plan, with its own changes put in.

        Changes that a plan no longer bears, because the settings changed it, are left out.
        """
        try:
            return self._check_quotas(tenant)
        except InvalidLimit as error:
            _log.warning("tenant %s has the quotas of its plan alone: %s", tenant.id, error)
            return self.plan(tenant).quotas

    def _check_quotas(self, tenant: Tenant) -> Quotas:
        return self.plan(tenant).quotas.override(tenant.quotas)

    async def _add(self, tenant: Tenant, actor: str) -> Tenant:
        audit = self._audit(actor, tenant.id, "tenant.create", plan=tenant.plan)
        return await self._store.put(tenant, expected_generation=0, audit=audit)

    async def _put(
        self, tenant: Tenant, action: str, generation: int, *, actor: str = "admin", **detail: Any
    ) -> Tenant:
        tenant = replace(tenant, updated_us=self._clock.now_us())
        audit = self._audit(actor, tenant.id, action, **detail)
        tenant = await self._store.put(tenant, expected_generation=generation, audit=audit)
        await self.refresh()
        return tenant

    def _audit(self, actor: str, tenant_id: str, action: str, **detail: Any) -> AuditEntry:
        return AuditEntry(
            at_us=self._clock.now_us(),
            actor=actor,
            tenant=tenant_id,
            action=action,
            detail=json.dumps(detail, ensure_ascii=False, sort_keys=True),
        )

    def _check_plan(self, plan: str) -> str:
        plan = PLAN_ALIASES.get(plan, plan)
        if plan not in self.plans:
            raise InvalidRequest("plan", plan, " | ".join(self.plans))
        return plan

    def _id_from(self, name: str) -> str:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
        return check_tenant_id(slug) if slug else f"t{self._secrets.token(6).lower()}"


def hash_key(key: str) -> bytes:
    """Return what is kept of a key. Plain SHA-256 suffices: keys carry 256 random bits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _check_name(name: str) -> str:
    if not name.strip() or len(name) > NAME_LENGTH_MAX:
        raise InvalidRequest("name", name[:NAME_LENGTH_MAX], f"1..{NAME_LENGTH_MAX} characters")
    return name
