"""The gate in web applications: ASGI and WSGI middleware, and faces for single endpoints.

`admit`, `problem_details` and `Refused` need FastAPI, and are loaded when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidegate.entrypoints.middleware.asgi import AdmissionMiddleware
from tidegate.entrypoints.middleware.claims import (
    ClaimFunction,
    by_client_address,
    by_header,
    per_route,
)
from tidegate.entrypoints.middleware.endpoints import governed
from tidegate.entrypoints.middleware.wsgi import AdmissionMiddlewareWSGI

if TYPE_CHECKING:
    from tidegate.entrypoints.middleware.dependency import Refused, admit, problem_details

__all__ = [
    "AdmissionMiddleware",
    "AdmissionMiddlewareWSGI",
    "ClaimFunction",
    "Refused",
    "admit",
    "by_client_address",
    "by_header",
    "governed",
    "per_route",
    "problem_details",
]

_OF_FASTAPI = ("Refused", "admit", "problem_details")


def __getattr__(name: str) -> Any:
    if name not in _OF_FASTAPI:
        raise AttributeError(name)
    from tidegate.entrypoints.middleware import dependency

    return getattr(dependency, name)
