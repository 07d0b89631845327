"""Bodies on their way in: bounded in time, and in bytes by tenant and in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.harness import Api, Caller, bad, good
from tidegate.entrypoints.http import frame

pytestmark = pytest.mark.anyio

BODY_MAX_BYTES = 2**18
SETTINGS: dict[str, Any] = {"body_max_bytes": BODY_MAX_BYTES}
JSON = {"Content-Type": "application/json"}
PAGE = b'{"html": "' + b"x" * (BODY_MAX_BYTES - 100) + b'"}'


class Upload:
    """A body that stops in the middle until it is told to go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        yield PAGE[:1000]
        self.begun.set()
        await self.go_on.wait()
        yield PAGE[1000:]


def send(caller: Caller, upload: Upload) -> asyncio.Task[Any]:
    return asyncio.create_task(caller.post("/v1/extract", content=upload.chunks(), headers=JSON))


async def test_the_bytes_of_large_bodies_are_bounded_by_tenant(api: Api, tenant: Caller) -> None:
    uploads = [Upload() for _ in range(4)]
    tasks = [send(tenant, upload) for upload in uploads]
    for upload in uploads:
        await upload.begun.wait()
    problem = bad(await send(tenant, Upload()), 429, "quota_exceeded")
    assert problem["limit"] == "body_bytes_tenant"
    other = await api.tenant()
    good(await other.post("/v1/extract", content=PAGE, headers=JSON))
    good(await tenant.post("/v1/extract", {"html": "small"}))
    for upload in uploads:
        upload.go_on.set()
    for answer in await asyncio.gather(*tasks):
        good(answer)


async def test_a_body_that_does_not_arrive_is_given_up(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "BODY_S", 0.2)
    answer = await asyncio.wait_for(send(tenant, Upload()), 20)
    bad(answer, 408, "too_slow")
    assert answer.headers["connection"] == "close"
    small = asyncio.create_task(tenant.post("/v1/claims", content=Upload().chunks(), headers=JSON))
    bad(await asyncio.wait_for(small, 20), 408, "too_slow")
