"""The same small application in each framework: visit the room, stream without end, fail, greet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse as FastStream
from flask import Flask
from litestar import Litestar, get
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from tests.integration.frameworks import Room

PAUSE_S = 0.002


async def parts() -> AsyncIterator[bytes]:
    while True:
        yield b"part"
        await asyncio.sleep(PAUSE_S)


def parts_sync() -> Iterator[bytes]:
    while True:
        yield b"part"
        time.sleep(PAUSE_S)


def starlette_app(room: Room) -> Any:
    async def visit(request: Request) -> PlainTextResponse:
        await room.visit_async()
        return PlainTextResponse("visited")

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(parts())

    async def boom(request: Request) -> PlainTextResponse:
        raise RuntimeError("a bug")

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    endpoints = {"/visit": visit, "/stream": stream, "/boom": boom, "/hello": hello}
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in endpoints.items()])


def fastapi_app(room: Room) -> Any:
    app = FastAPI()

    @app.get("/visit")
    def visit() -> str:
        room.visit()
        return "visited"

    @app.get("/stream")
    async def stream() -> FastStream:
        return FastStream(parts_sync())

    @app.get("/boom")
    def boom() -> str:
        raise RuntimeError("a bug")

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    return app


def litestar_app(room: Room) -> Any:
    @get("/visit")
    async def visit() -> str:
        await room.visit_async()
        return "visited"

    @get("/stream")
    async def stream() -> Stream:
        return Stream(parts())

    @get("/boom")
    async def boom() -> str:
        raise RuntimeError("a bug")

    @get("/hello", sync_to_thread=True)
    def hello() -> str:
        return "hello"

    return Litestar([visit, stream, boom, hello], logging_config=None)


def flask_app(room: Room) -> Any:
    app = Flask("tests")

    @app.get("/visit")
    def visit() -> str:
        room.visit()
        return "visited"

    @app.get("/stream")
    def stream() -> Any:
        return app.response_class(parts_sync())

    @app.get("/boom")
    def boom() -> str:
        raise RuntimeError("a bug")

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    app.logger.disabled = True
    return app


def django_urls(**views: Callable[..., Any]) -> None:
    """Make these the views of the one Django project that a process can have."""
    django, conf = import_module("django"), import_module("django.conf")
    if not conf.settings.configured:
        conf.settings.configure(
            SECRET_KEY="tests",
            ALLOWED_HOSTS=["127.0.0.1"],
            ROOT_URLCONF="tests.integration.urls_of_django",
            LOGGING_CONFIG=None,
        )
        django.setup()
        import_module("logging").getLogger("django").disabled = True
    path = import_module("django.urls").path
    module = ModuleType("tests.integration.urls_of_django")
    module.__dict__["urlpatterns"] = [path(name, view) for name, view in views.items()]
    import_module("sys").modules[module.__name__] = module
    import_module("django.urls").clear_url_caches()


def django_wsgi_app(room: Room) -> Any:
    http = import_module("django.http")

    def visit(request: Any) -> Any:
        room.visit()
        return http.HttpResponse("visited")

    def stream(request: Any) -> Any:
        return http.StreamingHttpResponse(parts_sync())

    def boom(request: Any) -> Any:
        raise RuntimeError("a bug")

    def hello(request: Any) -> Any:
        return http.HttpResponse("hello")

    django_urls(visit=visit, stream=stream, boom=boom, hello=hello)
    return import_module("django.core.wsgi").get_wsgi_application()


def django_asgi_app(room: Room) -> Any:
    http = import_module("django.http")

    async def visit(request: Any) -> Any:
        await room.visit_async()
        return http.HttpResponse("visited")

    async def stream(request: Any) -> Any:
        return http.StreamingHttpResponse(parts())

    async def boom(request: Any) -> Any:
        raise RuntimeError("a bug")

    def hello(request: Any) -> Any:
        return http.HttpResponse("hello")

    django_urls(visit=visit, stream=stream, boom=boom, hello=hello)
    return import_module("django.core.asgi").get_asgi_application()
