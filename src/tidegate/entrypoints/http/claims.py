"""Claims, leases, and what is left: the decision API for any language."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from tidegate.domain.claim import PRIORITY_DEFAULT, Claim
from tidegate.domain.decision import LimitState
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.plan import Plan
from tidegate.domain.tenant import Tenant
from tidegate.entrypoints.http.context import (
    ServicePart,
    TenantPart,
    answer_key_of,
    count_request,
    until_gone,
)
from tidegate.entrypoints.http.documentation import PROBLEMS, reply_example
from tidegate.entrypoints.http.models import ClaimBody, RenewBody, SettleBody
from tidegate.entrypoints.http.times import rfc3339
from tidegate.facades.claiming import ClaimTerms, GrantedClaim

LEASE_S = 60.0

router = APIRouter(prefix="/v1", tags=["Claims and leases"])
counted = [Depends(count_request)]


@router.post(
    "/claims",
    status_code=201,
    responses=reply_example("claim", 201, also={200: "Granted before, under the same id."}),
)
async def claim(
    body: ClaimBody, tenant: TenantPart, service: ServicePart, request: Request
) -> Response:
    """Admit a claim: 201 with a lease; 200 with the same lease if its id was granted before."""
    plan = service.tenants.plan(tenant)
    wanted = _claim(body, tenant, plan, body.id or answer_key_of(request))
    terms = ClaimTerms(timeout_s=body.timeout_s, lease_s=_lease_s(body.lease_s, plan))

    async def work() -> Response:
        granted = await service.leases.claim(wanted, terms, plan)
        status = 200 if granted.repeated else 201
        return JSONResponse(_granted(granted, wanted), status_code=status)

    return await until_gone(request, work())


@router.post("/claims/explain", dependencies=counted, responses=reply_example("explain"))
async def explain(body: ClaimBody, tenant: TenantPart, service: ServicePart) -> dict[str, Any]:
    """Say what would happen to a claim and why, charging nothing for it."""
    plan = service.tenants.plan(tenant)
    wanted = _claim(body, tenant, plan, body.id)
    denied, states = service.leases.explain(wanted, plan)
    return {
        "granted": denied is None,
        "reason": denied.reason if denied else None,
        "limit": denied.limit if denied else None,
        "scope": list(denied.scope) if denied else None,
        "retry_after_s": _seconds(denied.retry_after_us) if denied else None,
        "limits": [state_of(state) for state in states],
    }


@router.post("/leases/{lease_id}/renew", dependencies=counted, responses=reply_example("renew"))
async def renew(
    lease_id: str, tenant: TenantPart, service: ServicePart, body: RenewBody | None = None
) -> dict[str, Any]:
    """Move a lease's expiry to `lease_s` from now."""
    plan = service.tenants.plan(tenant)
    lease_s = _lease_s(body.lease_s if body else None, plan)
    expires_us = await service.leases.renew(tenant.id, lease_id, lease_s, plan)
    return {"lease_id": lease_id, "expires_at": rfc3339(expires_us)}


# Not counted, as giving back is not: nobody shall be refused to say what was really used.
@router.post("/leases/{lease_id}/settle", responses=reply_example("settle"))
async def settle(
    lease_id: str, body: SettleBody, tenant: TenantPart, service: ServicePart
) -> dict[str, Any]:
    """Replace what a claim took by what was really used, once: before its lease ends."""
    return {"settled": await service.leases.settle(tenant.id, lease_id, body.actual)}


@router.delete("/leases/{lease_id}", status_code=204, responses=PROBLEMS)
async def release(lease_id: str, tenant: TenantPart, service: ServicePart) -> Response:
    """Give back what a lease holds. Doing it again changes nothing."""
    if not service.checks.release(tenant.id, lease_id):
        await service.leases.release(tenant.id, lease_id)
    return Response(status_code=204)


@router.get("/leases", dependencies=counted, responses=reply_example("leases"))
async def leases(tenant: TenantPart, service: ServicePart) -> dict[str, Any]:
    """List the live leases that were claimed here, oldest first."""
    return {"leases": [lease_of(record) for record in service.leases.of_tenant(tenant.id)]}


@router.get("/limits", dependencies=counted, responses=reply_example("limits"))
async def limits(tenant: TenantPart, service: ServicePart) -> dict[str, Any]:
    """Say how each limit stands that needs no more than the tenant to be known."""
    states = service.gate.limits(Claim(tenant=tenant.id))
    return {"limits": [state_of(state) for state in states]}


@router.get("/resources", dependencies=counted, responses=reply_example("resources"))
async def resources(service: ServicePart) -> dict[str, Any]:
    """Say what the service has free now, and how well it is."""
    shown: dict[str, Any] = msgspec.to_builtins(service.status.resources())
    return shown


@router.get("/usage", dependencies=counted, responses=reply_example("usage"))
async def usage(tenant: TenantPart, service: ServicePart) -> dict[str, Any]:
    """Say what was used since the calendar month began."""
    return await usage_of(service, tenant.id)


async def usage_of(service: ServicePart, tenant_id: str) -> dict[str, Any]:
    """Return a tenant's usage as routes show it."""
    used = await service.usage(tenant_id)
    return {
        "operation_count": used.totals.operation_count,
        "failed_count": used.totals.failed_count,
        "data_bytes": used.totals.data_bytes,
        "compute_time_s": used.totals.compute_us / 1e6,
        "storage_bytes": 0,
        "period_start": rfc3339(used.period_start_us),
        "period_end": rfc3339(used.period_end_us),
    }


def _claim(body: ClaimBody, tenant: Tenant, plan: Plan, claim_id: str | None) -> Claim:
    usual = min(PRIORITY_DEFAULT, plan.priority_max)
    return Claim(
        tenant=tenant.id,
        take=body.take,
        hold=body.hold,
        host=body.host,
        user=body.user,
        route=body.route,
        attributes=body.attributes,
        priority=usual if body.priority is None else body.priority,
        id=claim_id,
    )


def _lease_s(wanted_s: float | None, plan: Plan) -> float:
    return min(LEASE_S, plan.lease_max_s) if wanted_s is None else wanted_s


def _granted(granted: GrantedClaim, claim: Claim) -> dict[str, Any]:
    return {
        "lease_id": granted.lease.id,
        "fencing_token": granted.lease.fencing_token,
        "expires_at": rfc3339(granted.lease.expires_us),
        "granted": {"take": claim.take, "hold": claim.hold},
        "limits": [state_of(state) for state in granted.limits],
    }


def state_of(state: LimitState) -> dict[str, Any]:
    """Return how a limit stands as routes show it."""
    return {
        "name": state.name,
        "scope": list(state.scope),
        "units": state.units,
        "remaining": state.remaining,
        "reset_s": _seconds(state.reset_us),
    }


def lease_of(record: LeaseRecord) -> dict[str, Any]:
    """Return a lease as routes show it."""
    return {
        "lease_id": record.id,
        "fencing_token": record.fencing_token,
        "expires_at": rfc3339(record.expires_us),
        "hold": record.claim.hold,
        "claim_id": record.claim.id,
    }


def _seconds(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / 1e6
