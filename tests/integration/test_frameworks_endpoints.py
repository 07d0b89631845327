"""Single endpoints that are governed: they keep what is injected, and refuse properly."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import flask
import httpx
import litestar
import pytest
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
from tests.integration.frameworks import (
    DEADLINE_S,
    SLOTS,
    asgi_server,
    free,
    gate_of,
    werkzeug_server,
    wsgiref_server,
)
from tidegate import AdmissionDenied, Claim, Gate
from tidegate.entrypoints.middleware import by_header, governed
from tidegate.errors import InvalidClaim, InvalidRequest

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


@pytest.mark.parametrize(
    ("make", "server", "kinds"),
    [
        pytest.param(fastapi_app, asgi_server, ["async", "sync"], id="fastapi"),
        pytest.param(starlette_app, asgi_server, ["async", "sync", "class"], id="starlette"),
        pytest.param(litestar_app, asgi_server, ["async", "sync", "dto"], id="litestar"),
        pytest.param(flask_app, werkzeug_server, ["sync"], id="flask"),
        pytest.param(django_wsgi_app, wsgiref_server, ["sync"], id="django-wsgi"),
        pytest.param(django_asgi_app, asgi_server, ["async", "sync"], id="django-asgi"),
    ],
)
def test_an_endpoint_is_governed_and_stays_what_it_was(
    make: Callable[[Gate], Any], server: Any, kinds: list[str]
) -> None:
    gate = gate_of(requests=2)
    get = partial(httpx.get, timeout=DEADLINE_S, trust_env=False)
    with server(make(gate)) as address:
        for kind in kinds:
            headers = {"X-Tenant": f"tenant-{kind}"}
            url = f"http://{address}/{kind}"
            answer = get(f"{url}/7", headers=headers)
            assert answer.status_code == 200, answer.text
            path = f"/{kind}/7"
            expected = {"item": 7, "tenant": f"tenant-{kind}", "free": SLOTS - 1, "path": path}
            assert answer.json() == expected
            assert get(f"{url}/404", headers=headers).status_code == 404
            answer = get(f"{url}/7", headers=headers)
            assert answer.status_code == 429
            assert answer.headers["ratelimit"].startswith('"requests";r=0;t=')
            assert int(answer.headers["retry-after"]) >= 1
            problem = answer.json()
            if make is litestar_app:
                problem = problem["extra"]
            else:
                assert answer.headers["content-type"] == "application/problem+json"
            assert (problem["code"], problem["scope"]) == ("rate_limited", [f"tenant-{kind}"])
    assert free(gate) == SLOTS
    # Django's 404 says nowhere that it is one.
    assert gate.releases["failed"] == (len(kinds) if "django" in make.__name__ else 0)
    assert gate.releases["success"] + gate.releases["failed"] == 2 * len(kinds)
    gate.close()


BARE = """
import asyncio, httpx
from tidegate import Claim, Gate, RateLimit
from tidegate.entrypoints.middleware import governed

gate = Gate(limits=[RateLimit("requests", units=1, period_s=3600)])

@{get}("/")
@governed(gate, claim=Claim(take={{"requests": 1}}))
async def endpoint() -> dict[str, int]:
    return {{"free": 1}}

async def main() -> None:
    transport = httpx.ASGITransport({app})
    async with httpx.AsyncClient(transport=transport, base_url="http://example") as client:
        for _ in range(2):
            answer = await client.get("/")
            kind, left = answer.headers["content-type"], answer.headers.get("ratelimit")
            print(answer.status_code, kind, left)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("imports", "get", "app", "shape"),
    [
        pytest.param(
            "from fastapi import FastAPI\napp = FastAPI()",
            "app.get",
            "app",
            "application/problem+json",
            id="fastapi",
        ),
        pytest.param(
            "import litestar",
            "litestar.get",
            "litestar.Litestar([endpoint], logging_config=None)",
            "application/json",
            id="litestar",
        ),
        pytest.param(
            "import litestar\nfrom fastapi import FastAPI\napp = FastAPI()",
            "app.get",
            "app",
            "application/json",
            id="fastapi beside litestar",
        ),
        pytest.param(
            "import fastapi\nimport litestar",
            "litestar.get",
            "litestar.Litestar([endpoint], logging_config=None)",
            "application/json",
            id="litestar beside fastapi",
        ),
    ],
)
def test_an_endpoint_that_is_handed_nothing_refuses_as_well(
    imports: str, get: str, app: str, shape: str
) -> None:
    program = imports + BARE.format(get=get, app=app)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    granted, refused = done.stdout.splitlines()
    assert granted == "200 application/json None", done.stderr
    assert refused == f'429 {shape} "requests";r=0;t=3600', done.stderr


def test_outside_of_frameworks_the_library_s_own_errors_are_raised() -> None:
    gate = gate_of(requests=1)

    @governed(gate, claim=claim_of)
    def work(tenant: str, item: int) -> int:
        """Double the item."""
        return 2 * item

    @governed(gate, claim=lambda: Claim(take={"unheard_of": 1}))
    def wrong() -> None:
        raise AssertionError

    @governed(gate, claim=lambda item: None)
    def free_of_charge(item: int) -> int:
        return item

    assert work("acme", 7) == 14
    with pytest.raises(TypeError, match="request"):
        governed(gate, claim=CLAIM)(lambda: None)()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("flask", "fastapi", "litestar"):
            patch.delitem(sys.modules, name)
        with pytest.raises(AdmissionDenied):
            work("acme", 7)
        with pytest.raises(InvalidClaim):
            wrong()
    assert free_of_charge(3) == 3
    assert work.__doc__ == "Double the item."
    assert list(inspect.signature(work).parameters) == ["tenant", "item"]
    gate.close()


def test_a_generator_has_no_answer_yet_when_it_returns() -> None:
    def stream() -> Any:
        yield b""

    async def stream_async() -> Any:
        yield b""

    for endpoint in (stream, stream_async):
        with pytest.raises(InvalidRequest) as refused:
            governed(gate_of(), claim=Claim())(endpoint)
        assert refused.value.field == "endpoint"
