"""Governed endpoints in each framework, which tell what was injected into them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import flask
import litestar
from fastapi import Depends, FastAPI, Header, HTTPException
from litestar.di import NamedDependency, Provide
from litestar.dto import DataclassDTO, DTOConfig
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.integration.framework_apps import django_urls
from tests.integration.frameworks import free
from tidegate import Claim, Gate
from tidegate.entrypoints.middleware import by_header, governed

TAKE, HOLD = {"requests": 1}, {"slots": 1}
CLAIM = by_header("X-Tenant", take=TAKE, hold=HOLD)


def claim_of(tenant: str, item: int, **_: Any) -> Claim:
    return Claim(tenant=tenant, take=TAKE, hold=HOLD)


async def who(x_tenant: Annotated[str, Header()]) -> str:
    return x_tenant


def fastapi_app(gate: Gate) -> Any:
    app = FastAPI()

    @app.get("/async/{item}")
    @governed(gate, claim=claim_of)
    async def endpoint(
        item: int, tenant: Annotated[str, Depends(who)], request: Request
    ) -> dict[str, Any]:
        if item == 404:
            raise HTTPException(404)
        return {"item": item, "tenant": tenant, "free": free(gate), "path": request.url.path}

    @app.get("/sync/{item}")
    @governed(gate, claim=CLAIM)
    def endpoint_sync(
        item: int, tenant: Annotated[str, Depends(who)], request: Request
    ) -> dict[str, Any]:
        if item == 404:
            raise HTTPException(404)
        return {"item": item, "tenant": tenant, "free": free(gate), "path": request.url.path}

    parameters = app.openapi()["paths"]["/async/{item}"]["get"]["parameters"]
    assert {each["name"] for each in parameters} == {"item", "x-tenant"}
    return app


def starlette_app(gate: Gate) -> Any:
    @governed(gate, claim=CLAIM)
    async def endpoint(request: Request) -> JSONResponse:
        return told(request)

    @governed(gate, claim=CLAIM)
    def endpoint_sync(request: Request) -> JSONResponse:
        return told(request)

    class Methods(HTTPEndpoint):
        @governed(gate, claim=CLAIM)
        async def get(self, request: Request) -> JSONResponse:
            return told(request)

    def told(request: Request) -> JSONResponse:
        item = request.path_params["item"]
        if item == 404:
            raise import_module("starlette.exceptions").HTTPException(404)
        told = {"item": item, "tenant": request.headers["x-tenant"], "free": free(gate)}
        return JSONResponse({**told, "path": request.url.path})

    return Starlette(
        routes=[
            Route("/async/{item:int}", endpoint),
            Route("/sync/{item:int}", endpoint_sync),
            Route("/class/{item:int}", Methods),
        ]
    )


@dataclass
class Told:
    """What an endpoint tells."""

    item: int
    tenant: str
    free: int
    path: str
    secret: str


class WithoutSecret(DataclassDTO[Told]):
    """What leaves of it."""

    config = DTOConfig(exclude={"secret"})


def litestar_app(gate: Gate) -> Any:
    def caller(request: litestar.Request[Any, Any, Any]) -> str:
        return request.headers["x-tenant"]

    @litestar.get("/async/{item:int}")
    @governed(gate, claim=claim_of)
    async def endpoint(
        item: FromPath[int],
        tenant: NamedDependency[str],
        request: litestar.Request[Any, Any, Any],
    ) -> dict[str, Any]:
        if item == 404:
            raise NotFoundException
        return {"item": item, "tenant": tenant, "free": free(gate), "path": request.url.path}

    @litestar.get("/sync/{item:int}", sync_to_thread=True)
    @governed(gate, claim=CLAIM)
    def endpoint_sync(
        item: FromPath[int],
        tenant: NamedDependency[str],
        request: litestar.Request[Any, Any, Any],
    ) -> dict[str, Any]:
        if item == 404:
            raise NotFoundException
        return {"item": item, "tenant": tenant, "free": free(gate), "path": request.url.path}

    @litestar.get("/dto/{item:int}", return_dto=WithoutSecret)
    @governed(gate, claim=claim_of)
    async def endpoint_dto(
        item: FromPath[int],
        tenant: NamedDependency[str],
        request: litestar.Request[Any, Any, Any],
    ) -> Told:
        if item == 404:
            raise NotFoundException
        path = request.url.path
        return Told(item=item, tenant=tenant, free=free(gate), path=path, secret="secret")

    tenant = Provide(caller, sync_to_thread=False)
    handlers = [endpoint, endpoint_sync, endpoint_dto]
    return litestar.Litestar(handlers, dependencies={"tenant": tenant}, logging_config=None)


def flask_app(gate: Gate) -> Any:
    app = flask.Flask("tests")

    @app.get("/sync/<int:item>")
    @governed(gate, claim=CLAIM)
    def endpoint(item: int) -> dict[str, Any]:
        if item == 404:
            flask.abort(404)
        tenant = flask.request.headers["X-Tenant"]
        return {"item": item, "tenant": tenant, "free": free(gate), "path": flask.request.path}

    return app


def django_views(gate: Gate) -> None:
    http = import_module("django.http")

    def claim(request: Any, item: int) -> Claim:
        return claim_of(request.headers["X-Tenant"], item)

    def told(request: Any, item: int) -> Any:
        if item == 404:
            raise http.Http404
        tenant = request.headers["X-Tenant"]
        told = {"item": item, "tenant": tenant, "free": free(gate), "path": request.path}
        return http.JsonResponse(told)

    @governed(gate, claim=claim)
    def view(request: Any, item: int) -> Any:
        return told(request, item)

    @governed(gate, claim=CLAIM)
    async def view_async(request: Any, item: int) -> Any:
        return told(request, item)

    django_urls(**{"sync/<int:item>": view, "async/<int:item>": view_async})


def django_wsgi_app(gate: Gate) -> Any:
    django_views(gate)
    return import_module("django.core.wsgi").get_wsgi_application()


def django_asgi_app(gate: Gate) -> Any:
    django_views(gate)
    return import_module("django.core.asgi").get_asgi_application()
