"""Answers to requests that fail inside the application: what its framework would say in its way.

Broken JSON is 400, another media type 415, and readable but wrong is 422 naming every field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Mount

from tidegate.entrypoints.http.context import service_of
from tidegate.entrypoints.http.problems import problem, problem_of
from tidegate.errors import TidegateError

PLACES = ("body", "query", "path", "header")
FIELD_LENGTH_MAX = 300
"""Longest name of a field that is repeated in an answer: a caller may send any."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class UnsupportedMediaType(HTTPException):
    """The body has a media type that this route does not read."""

    def __init__(self, supported: str) -> None:
        super().__init__(415, f"send {supported}")


class WrongFields(Exception):
    """Fields that are missing, unknown, or of the wrong type or size; as pydantic lists them."""

    def __init__(self, errors: Sequence[Any]) -> None:
        super().__init__("wrong fields")
        self.errors = errors

    @classmethod
    def named(cls, messages: dict[str, str]) -> WrongFields:
        """Return what is wrong with each of these fields of a body."""
        return cls(
            [
                {"type": "wrong", "loc": ("body", name), "msg": message}
                for name, message in messages.items()
            ]
        )


def install(app: FastAPI) -> None:
    """Answer every such request with problem details.

    Without the last two, the framework answers a bare 500 before the frame sees the error.
    """
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(WrongFields, _wrong_fields)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(TidegateError, _refused)
    app.add_exception_handler(Exception, _bug)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    has_body = any(item["loc"][:1] == ("body",) for item in error.errors())
    if has_body and media_type != "application/json" and not media_type.endswith("+json"):
        return problem(415, "unsupported_media_type", "send application/json")
    return fields_problem(error.errors())


async def _wrong_fields(_: Request, error: Exception) -> Response:
    assert isinstance(error, WrongFields)
    return fields_problem(error.errors)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {400: "unreadable", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    code = codes.get(error.status_code, "unsupported_media_type")
    details = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not a method of {request.url.path}",
    }
    detail = details.get(error.status_code, str(error.detail))
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else None
    return problem(error.status_code, code, detail, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, TidegateError)
    service = service_of(request)
    return problem_of(error, service.gate.policy, service.now_us())


async def _bug(request: Request, _: Exception) -> Response:
    """Answer a fault of ours; the frame logs it."""
    detail = f"a fault of ours; look for {request.state.request_id} in the log"
    return problem(500, "internal_error", detail)


def _allowed(request: Request) -> str:
    """Return every method of the path; the framework knows only those of one route there."""
    taken = set()
    for route in request.app.router.routes:
        for method in METHODS:
            match, _ = route.matches({**request.scope, "method": method})
            if match is Match.FULL:
                taken.add("GET" if isinstance(route, Mount) else method)
    if "GET" in taken:
        taken.add("HEAD")
    return ", ".join(method for method in METHODS if method in taken)


def fields_problem(errors: Sequence[Any]) -> Response:
    """Return 400 for JSON that cannot be read, otherwise 422 naming every wrong field."""
    for item in errors:
        if item["type"] == "json_invalid":
            reason = item.get("ctx", {}).get("error", "")
            return problem(400, "unreadable", f"the body is not JSON: {reason}".rstrip(": "))
    named = [{"field": _field(item["loc"]), "message": item["msg"]} for item in errors]
    fields = ", ".join(entry["field"] for entry in named)
    return problem(422, "invalid_request", f"wrong: {fields}", errors=named)


def _field(location: Sequence[Any]) -> str:
    parts = location[1:] if location and location[0] in PLACES else location
    name = ".".join(str(part) for part in parts if part != "[key]")
    return name[:FIELD_LENGTH_MAX] or "body"
