"""What the operator does with tenants. The frame lets only the admin key in."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from tidegate.domain.tenant import ApiKey, Owner, Tenant
from tidegate.entrypoints.http.claims import usage_of
from tidegate.entrypoints.http.context import ServicePart
from tidegate.entrypoints.http.documentation import PROBLEMS, reply_example
from tidegate.entrypoints.http.models import OwnerBody, SuspendBody, TenantBody, TenantChange
from tidegate.entrypoints.http.times import rfc3339
from tidegate.facades.service import Service
from tidegate.facades.tenants import TenantChanges

router = APIRouter(prefix="/admin", tags=["Admin"])


@router.post("/tenants", status_code=201, responses=reply_example("tenant_created", 201))
async def create(body: TenantBody, service: ServicePart) -> dict[str, Any]:
    """Create a tenant. Its API key is in the answer, shown this once."""
    tenant, key = await service.tenants.create(
        name=body.name,
        plan=body.plan,
        owner=_owner(body.owner),
        quotas=body.quotas,
        tenant_id=body.id,
    )
    return {**_tenant(service, tenant), "api_key": key}


@router.get("/tenants", responses=reply_example("tenants"))
async def everyone(service: ServicePart) -> dict[str, Any]:
    """List every tenant."""
    return {"tenants": [_tenant(service, each) for each in await service.tenants.everyone()]}


@router.get("/tenants/{tenant_id}", responses=reply_example("tenant"))
async def read(tenant_id: str, service: ServicePart) -> dict[str, Any]:
    """Show one tenant, with the quotas in force."""
    return _tenant(service, await service.tenants.get(tenant_id))


@router.put("/tenants/{tenant_id}", responses=reply_example("tenant"))
async def update(tenant_id: str, body: TenantChange, service: ServicePart) -> dict[str, Any]:
    """Change a tenant; what is left out stays. New limits are in force at once."""
    changes = TenantChanges(
        name=body.name,
        plan=body.plan,
        owner=_owner(body.owner) if body.owner else None,
        quotas=body.quotas,
    )
    tenant = await service.tenants.update(tenant_id, changes, generation=body.generation)
    return _tenant(service, tenant)


@router.delete("/tenants/{tenant_id}", status_code=204, responses=PROBLEMS)
async def delete(tenant_id: str, service: ServicePart) -> Response:
    """Remove a tenant, its keys, leases and kept answers. Its id is not given out again."""
    await service.tenants.delete(tenant_id)
    await service.leases.release_all(tenant_id)
    return Response(status_code=204)


@router.get("/tenants/{tenant_id}/usage", responses=reply_example("usage"))
async def usage(tenant_id: str, service: ServicePart) -> dict[str, Any]:
    """Say what a tenant used since the calendar month began."""
    await service.tenants.get(tenant_id)
    return await usage_of(service, tenant_id)


@router.post("/tenants/{tenant_id}/suspend", responses=reply_example("tenant"))
async def suspend(
    tenant_id: str, service: ServicePart, body: SuspendBody | None = None
) -> dict[str, Any]:
    """Refuse everything the tenant asks for, until it is resumed."""
    reason = body.reason if body else ""
    return _tenant(service, await service.tenants.suspend(tenant_id, reason))


@router.post("/tenants/{tenant_id}/resume", responses=reply_example("tenant"))
async def resume(tenant_id: str, service: ServicePart) -> dict[str, Any]:
    """Let a suspended tenant in again."""
    return _tenant(service, await service.tenants.resume(tenant_id))


@router.post("/tenants/{tenant_id}/keys", status_code=201, responses=reply_example("key", 201))
async def issue_key(tenant_id: str, service: ServicePart) -> dict[str, Any]:
    """Add an API key, shown this once."""
    key, text = await service.tenants.issue_key(tenant_id)
    return {**_key(key), "api_key": text}


@router.get("/tenants/{tenant_id}/keys", responses=reply_example("keys"))
async def keys(tenant_id: str, service: ServicePart) -> dict[str, Any]:
    """List a tenant's keys, without their texts."""
    return {"keys": [_key(key) for key in await service.tenants.keys(tenant_id)]}


@router.delete("/tenants/{tenant_id}/keys/{key_id}", status_code=204, responses=PROBLEMS)
async def revoke_key(tenant_id: str, key_id: str, service: ServicePart) -> Response:
    """Remove an API key; it is refused from now on."""
    await service.tenants.revoke_key(tenant_id, key_id)
    return Response(status_code=204)


@router.get("/audit", responses=reply_example("audit"))
async def audit(
    service: ServicePart,
    tenant: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """List who did what to which tenant, newest first."""
    entries = await service.tenants.audit(tenant_id=tenant, limit=limit)
    return {
        "entries": [
            {
                "at": rfc3339(entry.at_us),
                "actor": entry.actor,
                "tenant": entry.tenant,
                "action": entry.action,
                "detail": entry.detail,
            }
            for entry in entries
        ]
    }


@router.get("/health", responses=reply_example("health"))
async def health(service: ServicePart) -> dict[str, Any]:
    """Show every component, every worker of every pool, and what was counted since the start."""
    counted = service.status.metrics_snapshot()
    shown: dict[str, Any] = msgspec.to_builtins(await service.status.health())
    return {
        **shown,
        "counters": {
            **msgspec.to_builtins(counted),
            "render_success_rate": counted.render_success_rate,
            "browser_pool_utilization": counted.browser_pool_utilization,
        },
    }


def _tenant(service: Service, tenant: Tenant) -> dict[str, Any]:
    owner, quotas = tenant.owner, service.tenants.quotas(tenant)
    return {
        "id": tenant.id,
        "name": tenant.name,
        "plan": tenant.plan,
        "owner": {"id": owner.id, "name": owner.name, "email": owner.email},
        "status": tenant.status,
        "suspended_reason": tenant.suspended_reason,
        "quotas": {name: getattr(quotas, name) for name in quotas.__dataclass_fields__},
        "isolation_level": tenant.isolation_level,
        "generation": tenant.generation,
        "created_at": rfc3339(tenant.created_us),
        "updated_at": rfc3339(tenant.updated_us),
    }


def _key(key: ApiKey) -> dict[str, Any]:
    return {"id": key.id, "created_at": rfc3339(key.created_us)}


def _owner(body: OwnerBody) -> Owner:
    return Owner(id=body.id, name=body.name, email=body.email)
