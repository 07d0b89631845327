"""What the operator does with limits and leases. The frame lets only the admin key in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from tidegate.domain.claim import Claim
from tidegate.entrypoints.http.claims import lease_of, state_of
from tidegate.entrypoints.http.context import ServicePart
from tidegate.entrypoints.http.documentation import PROBLEMS, reply_example
from tidegate.entrypoints.http.models import LevelBody, UsedBody
from tidegate.errors import InvalidRequest

router = APIRouter(prefix="/admin", tags=["Admin"])

KINDS = {"RateLimit": "rate", "SlidingWindow": "sliding", "Quota": "quota", "Capacity": "capacity"}


@router.get("/limits/{name}", responses=reply_example("limit"))
async def peek(  # noqa: PLR0917
    name: str,
    service: ServicePart,
    tenant: str = "",
    host: str | None = None,
    user: str | None = None,
    route: str | None = None,
    attribute: Annotated[list[str] | None, Query(description="NAME=VALUE")] = None,
) -> dict[str, Any]:
    """Show how one limit stands where the query says; `units` null: it is lifted there."""
    attributes = dict(_attribute(text) for text in attribute or ())
    claim = Claim(tenant=tenant, host=host, user=user, route=route, attributes=attributes)
    return await _shown(service, name, claim)


@router.post("/limits/{name}/reset", responses=reply_example("limit"))
async def reset(name: str, body: LevelBody, service: ServicePart) -> dict[str, Any]:
    """Let a limit count as untouched. Who waits for it is served at once."""
    claim = _claim(body)
    await service.operator.reset(name, claim)
    return await _shown(service, name, claim)


@router.post("/limits/{name}/drain", responses=reply_example("limit"))
async def drain(name: str, body: LevelBody, service: ServicePart) -> dict[str, Any]:
    """Let a limit count as spent, until it comes back by itself."""
    claim = _claim(body)
    await service.operator.drain(name, claim)
    return await _shown(service, name, claim)


@router.post("/limits/{name}/set", responses=reply_example("limit"))
async def set_used(name: str, body: UsedBody, service: ServicePart) -> dict[str, Any]:
    """Let `units` count as used."""
    claim = _claim(body)
    await service.operator.set_used(name, claim, body.units)
    return await _shown(service, name, claim)


@router.get("/leases", responses=reply_example("all_leases"))
async def leases(
    service: ServicePart,
    tenant: str | None = None,
    holder: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """List live leases of every kind, oldest first."""
    found = service.operator.leases(tenant=tenant, holder=holder, count=limit)
    return {
        "leases": [
            {
                **lease_of(record),
                "tenant": record.claim.tenant,
                "holder": record.holder,
                "take": record.claim.take,
            }
            for record in found
        ]
    }


@router.delete("/leases/{lease_id}", status_code=204, responses=PROBLEMS)
async def release(lease_id: str, service: ServicePart) -> Response:
    """Give back a lease, whoever holds it; work that renews it is told and ends."""
    await service.operator.release(lease_id)
    return Response(status_code=204)


async def _shown(service: ServicePart, name: str, claim: Claim) -> dict[str, Any]:
    limit, state = await service.operator.peek(name, claim)
    kind = {"resource": limit.resource, "kind": KINDS[type(limit).__name__]}
    if state is None:
        numbers = dict.fromkeys(("units", "remaining", "reset_s"))
        return {"name": name, "scope": service.operator.scope(name, claim), **numbers, **kind}
    return {**state_of(state), **kind}


def _claim(body: LevelBody) -> Claim:
    return Claim(
        tenant=body.tenant or "",
        host=body.host,
        user=body.user,
        route=body.route,
        attributes=body.attributes,
    )


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidRequest("attribute", text, "NAME=VALUE")
    return name, value
