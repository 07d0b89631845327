"""The ASGI application over a running service."""

from __future__ import annotations

import re
from importlib.metadata import version

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp

from tidegate.bootstrap import Settings
from tidegate.entrypoints.http import admin, claims, limits, operations, unreadable, workloads
from tidegate.entrypoints.http.check import Carrier, GatewayRoutes
from tidegate.entrypoints.http.frame import Frame
from tidegate.facades.service import Service

DESCRIPTION = """One gate between tenants and everything scarce.

Show a key with every call under `/v1` (a tenant's) and `/admin` (the operator's):
`Authorization: Bearer <key>`. Any POST under `/v1` may carry an `Idempotency-Key`.
"""


def create_app(service: Service, settings: Settings) -> ASGIApp:
    """Return the application. The caller starts and stops the service."""
    key = HTTPBearer(auto_error=False, description="A tenant's key, or the admin key.")
    app = FastAPI(
        title="Tidegate",
        version=version("tidegate"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    unreadable.install(app)
    for router in (workloads.router, workloads.pages, claims.router, admin.router, limits.router):
        app.include_router(_summed_up(router), dependencies=[Depends(key)])
    app.include_router(_summed_up(operations.router))
    operations.install_docs(app)
    open_routes = settings.open_routes
    closed = frozenset(
        name for name in ("health", "metrics", "docs") if not getattr(open_routes, name)
    )
    routes = GatewayRoutes(app, service, settings)
    frame = Frame(routes, service, body_max_bytes=settings.body_max_bytes, closed=closed)
    return Carrier(frame, settings)


def _summed_up(router: APIRouter) -> APIRouter:
    """Head each route in the documentation with its first words, not with its function's name."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            route.summary = re.split(r"[.:]( |$)", route.description, maxsplit=1)[0]
    return router
