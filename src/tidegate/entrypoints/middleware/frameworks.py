"""Requests and refusals in the words of each framework, for endpoints governed one by one.

Which framework it is shows in what it hands to its endpoints. FastAPI and Litestar may hand over no
request at all: then it is the one of the two that is there. No framework is imported that is not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from tidegate.entrypoints.middleware.answer import Answer
from tidegate.entrypoints.middleware.exchange import POLICY_VIOLATION, TRY_AGAIN_LATER


def said(answer: Answer, handed: Iterable[Any]) -> Any:
    """Return the answer as the endpoint's framework takes it.

    Args:
        answer: What to say.
        handed: What the endpoint was called with.

    Raises:
        Exception: the framework's own, where it takes answers by raising them.
        LookupError: no framework that is known here called the endpoint.
    """
    for value in handed:
        for kind in type(value).__mro__:
            say = _BY_REQUEST.get((kind.__module__.partition(".")[0], kind.__name__))
            if say is not None:
                return say(answer)
    if _in_flask():
        return _flask(answer)
    there = [name for name in ("fastapi", "litestar") if name in sys.modules]
    if len(there) == 2:
        # Litestar understands this one too.
        http = import_module("starlette.exceptions").HTTPException
        raise http(answer.status, answer.problem["detail"], headers=answer.fields)
    if not there:
        raise LookupError("this is an endpoint of no framework that is known here")
    return _litestar(answer) if there == ["litestar"] else _starlette(answer)


def request_among(handed: Iterable[Any]) -> Any:
    """Return the request that an endpoint was called with, or is called in.

    Raises:
        TypeError: there is none; the endpoint has to take it as a parameter.
    """
    for value in handed:
        if any(isinstance(getattr(value, name, None), Mapping) for name in ("scope", "META")):
            return value
    if _in_flask():
        return import_module("flask").request
    raise TypeError("this claim is made of the request: let the endpoint have one as a parameter")


def _in_flask() -> bool:
    return "flask" in sys.modules and bool(import_module("flask").has_request_context())


def _starlette(answer: Answer) -> Any:
    response = import_module("starlette.responses").Response
    return response(answer.body, answer.status, headers=answer.headers)


def _litestar(answer: Answer) -> Any:
    # Raised, for a handler with a return DTO would put a response through it.
    http = import_module("litestar.exceptions").HTTPException
    raise http(
        answer.problem["detail"],
        status_code=answer.status,
        headers=answer.fields,
        extra=answer.problem,
    )


def _flask(answer: Answer) -> Any:
    return import_module("flask").Response(answer.body, answer.status, headers=answer.headers)


def _django(answer: Answer) -> Any:
    response = import_module("django.http").HttpResponse
    return response(answer.body, status=answer.status, headers=answer.headers)


def _starlette_socket(answer: Answer) -> Any:
    closed = import_module("starlette.exceptions").WebSocketException
    raise closed(_close_code(answer), answer.problem["code"])


def _litestar_socket(answer: Answer) -> Any:
    closed = import_module("litestar.exceptions").WebSocketException
    raise closed(detail=answer.problem["code"], code=_close_code(answer))


def _close_code(answer: Answer) -> int:
    return TRY_AGAIN_LATER if answer.status in (429, 503) else POLICY_VIOLATION


_BY_REQUEST: dict[tuple[str, str], Callable[[Answer], Any]] = {
    ("starlette", "Request"): _starlette,
    ("starlette", "WebSocket"): _starlette_socket,
    ("litestar", "Request"): _litestar,
    ("litestar", "WebSocket"): _litestar_socket,
    ("django", "HttpRequest"): _django,
}
"""By the library and the name of a class of what is handed over."""
