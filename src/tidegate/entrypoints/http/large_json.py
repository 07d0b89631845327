"""JSON bodies of many megabytes, read without building what no field could hold.

A standard parser makes ten million objects of `[1,1,1,...]` and holds up every other request for
seconds. Here the shape is given beforehand: large texts are copied, all else is refused on sight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

SMALL_BYTES = 128 * 1024
"""Up to here the standard parser is quick enough, whatever it is given."""


class _Page(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a page that is sent along. Only `html` can be large and right."""

    url: str | msgspec.UnsetType | None = msgspec.UNSET
    html: str | msgspec.UnsetType | None = msgspec.UNSET
    timeout_s: float | msgspec.UnsetType | None = msgspec.UNSET


class _PageRequest(Request):
    async def json(self) -> Any:
        """Return the body's members."""
        body = await self.body()
        if len(body) <= SMALL_BYTES:
            return json.loads(body)
        try:
            page = msgspec.json.decode(body, type=_Page)
        except msgspec.ValidationError as error:
            return _equally_wrong(str(error))
        except msgspec.DecodeError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None
        members = {name: getattr(page, name) for name in page.__struct_fields__}
        return {name: value for name, value in members.items() if value is not msgspec.UNSET}


def _equally_wrong(message: str) -> Any:
    """Return a small body that is wrong in the same place, for the model to say so."""
    unknown = re.search(r"unknown field `([^`]*)`", message)
    wrong = re.search(r" - at `\$\.(\w+)", message)
    if unknown:
        return {unknown[1]: None}
    return {wrong[1]: ()} if wrong else []


class PageRoute(APIRoute):
    """A route whose body is a page, and may be large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the route a request that reads large bodies carefully."""
        handle = super().get_route_handler()

        async def careful(request: Request) -> Response:
            return await handle(_PageRequest(request.scope, request.receive))

        return careful
