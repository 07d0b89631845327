"""The routes, and a body that each of those accepts which take one."""

from __future__ import annotations

from typing import Any

from tests.api.harness import Api, Caller, good

PAGE = "http://127.0.0.2:9/"
"""An address that may be visited and where nobody is."""

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/render"): {"url": PAGE},
    ("POST", "/v1/extract"): {"html": "<p>text"},
    ("POST", "/v1/pdf"): {"url": PAGE},
    ("POST", "/v1/claims"): {"hold": {"seats": 1}},
    ("POST", "/v1/claims/explain"): {"hold": {"seats": 1}},
    ("POST", "/v1/leases/{lease_id}/renew"): {"lease_s": 1},
    ("POST", "/v1/leases/{lease_id}/settle"): {"actual": {"seats": 1}},
    ("POST", "/admin/tenants"): {"name": "Acme"},
    ("PUT", "/admin/tenants/{tenant_id}"): {"name": "Acme"},
    ("POST", "/admin/tenants/{tenant_id}/suspend"): {"reason": "unpaid"},
    ("POST", "/admin/limits/{name}/reset"): {"tenant": "acme"},
    ("POST", "/admin/limits/{name}/drain"): {"tenant": "acme"},
    ("POST", "/admin/limits/{name}/set"): {"tenant": "acme", "units": 1},
}

OTHERS = {
    ("DELETE", "/v1/leases/{lease_id}"),
    ("GET", "/v1/leases"),
    ("GET", "/v1/limits"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/resources"),
    ("GET", "/admin/tenants"),
    ("GET", "/admin/tenants/{tenant_id}"),
    ("DELETE", "/admin/tenants/{tenant_id}"),
    ("GET", "/admin/tenants/{tenant_id}/usage"),
    ("POST", "/admin/tenants/{tenant_id}/resume"),
    ("POST", "/admin/tenants/{tenant_id}/keys"),
    ("GET", "/admin/tenants/{tenant_id}/keys"),
    ("DELETE", "/admin/tenants/{tenant_id}/keys/{key_id}"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/health"),
    ("GET", "/admin/limits/{name}"),
    ("GET", "/admin/leases"),
    ("DELETE", "/admin/leases/{lease_id}"),
}

NEVER_REFUSED = {("DELETE", "/v1/leases/{lease_id}"), ("POST", "/v1/leases/{lease_id}/settle")}
"""Giving back, and saying what was used: open to tenants that are suspended."""

OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}

WITH_BODY = sorted(BODIES)
LIMITS = [{"kind": "capacity", "resource": "seats", "units": 4, "claimable": True}]
"""What SETTINGS must say under `limits` for the claims above."""


def filled(path: str, *, tenant: str = "nobody", lease: str = "none", key: str = "none") -> str:
    """Return the path of a route with its parameters put in."""
    return path.format(tenant_id=tenant, lease_id=lease, key_id=key, name="requests")


def caller_of(path: str, admin: Caller, tenant: Caller) -> Caller:
    """Return who may call a route."""
    return admin if path.startswith("/admin") else tenant


async def documented(api: Api) -> set[tuple[str, str]]:
    """Return the routes of the OpenAPI document."""
    document = good(await api.http.get("/openapi.json"))
    return {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
