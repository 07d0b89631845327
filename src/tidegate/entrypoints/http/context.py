"""What routes take from a request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.domain.tenant import Tenant
from tidegate.errors import AdmissionDenied, InvalidRequest
from tidegate.facades.governed import Call
from tidegate.facades.service import Service
from tidegate.facades.workload import Reply

ANSWER_KEY = re.compile(r"[!-~]{1,128}")


def service_of(request: Request) -> Service:
    """Return the running service."""
    service: Service = request.app.state.service
    return service


def tenant_of(request: Request) -> Tenant:
    """Return the tenant that calls; the frame has checked its key."""
    tenant: Tenant = request.state.tenant
    return tenant


def answer_key_of(request: Request) -> str | None:
    """Return the Idempotency-Key.

    Raises:
        InvalidRequest: it is not 1..128 visible ASCII characters.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not ANSWER_KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key", key[:128], "1..128 visible ASCII characters")
    return key


def call_of(request: Request) -> Call:
    """Return who calls, under which request id and Idempotency-Key."""
    return Call(
        tenant=tenant_of(request).id,
        request_id=request.state.request_id,
        answer_key=answer_key_of(request),
    )


async def count_request(request: Request) -> None:
    """Take the one `requests` that every call under /v1 costs.

    Raises:
        AdmissionDenied: the tenant calls too often, or is suspended.
    """
    claim = Claim(tenant=tenant_of(request).id, take={"requests": 1})
    decision = service_of(request).gate.try_admit(claim)
    if isinstance(decision, Denied):
        raise AdmissionDenied(decision)


async def _service(request: Request) -> Service:
    return service_of(request)


async def _tenant(request: Request) -> Tenant:
    return tenant_of(request)


async def _call(request: Request) -> Call:
    return call_of(request)


# Coroutines, for plain functions would each be sent through a thread and back.
ServicePart = Annotated[Service, Depends(_service)]
TenantPart = Annotated[Tenant, Depends(_tenant)]
CallPart = Annotated[Call, Depends(_call)]


async def until_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Do the work while the client waits for it; cancel it when the client hangs up.

    The body must have been read: the next event is then the client's going.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        return await task
    except asyncio.CancelledError:
        if not gone.done():
            raise
        return Response(status_code=499)
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.wait({task, gone})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def response_of(work: Awaitable[Reply]) -> Response:
    """Return the answer of a workload as it leaves."""
    reply = await work
    headers = {**reply.headers, "Idempotent-Replayed": "true"} if reply.replayed else reply.headers
    return Response(reply.body, status_code=reply.status, headers=headers)
