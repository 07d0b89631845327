"""Clients that hang up: their work ends, its slot is free at once, and it counts as failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.api.harness import PATIENCE_S, Caller, good, new_tenant
from tests.api.process import Server, json_request, request, serving
from tests.api.site import Site, answer, never
from tests.pdf_samples import says, slow

pytestmark = pytest.mark.anyio

CAP_S = 120.0
SETTINGS: dict[str, Any] = {
    "browser": {"slots": 1, "timeout_s": CAP_S},
    "extract": {"instances": 1, "timeout_s": CAP_S},
    "pdf": {"workers": 1, "timeout_s": CAP_S, "wait_s": CAP_S},
    "limits": [{"kind": "capacity", "resource": "seats", "units": 1, "claimable": True}],
}
FREE_S = 1.0
"""How soon the slot is free, on an idle machine."""


@pytest.fixture(scope="module")
async def server(
    anyio_backend: object, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    async with serving(tmp_path_factory.mktemp("server"), SETTINGS) as server:
        yield server


async def eventually(told: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again: another process does not call back."""
    async with asyncio.timeout(PATIENCE_S):
        while not await told():
            await asyncio.sleep(0.02)


async def free(tenant: Caller) -> bool:
    left = await tenant.remaining()
    return (left["browsers"], left["pdf_workers"], left["wasm_instances"]) == (1, 1, 1)


async def failed_once(tenant: Caller) -> bool:
    used = await tenant.usage()
    return (used["operation_count"], used["failed_count"]) == (0, 1)


async def hang_up_at(
    server: Server, wire: bytes, moment: Callable[[], Awaitable[None]], *, rudely: bool
) -> float:
    """Send a request, and go when the moment has come; return when that was."""
    _, writer = await server.connect()
    writer.write(wire)
    await moment()
    if rudely:
        writer.transport.abort()
    else:
        writer.close()
        await writer.wait_closed()
    return asyncio.get_running_loop().time()


async def slot_comes_back(server: Server, tenant: Caller, next_work: Any, since_s: float) -> None:
    """Check that the next one in line gets the slot, and that the work that was left is failed."""
    good(await next_work)
    assert asyncio.get_running_loop().time() - since_s < 10 * FREE_S
    await eventually(lambda: failed_once(tenant))
    await eventually(lambda: free(tenant))


@pytest.mark.parametrize("rudely", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize("work", ["render", "extract", "pdf"])
async def test_a_client_that_goes_frees_the_slot(
    server: Server, site: Site, work: str, rudely: bool
) -> None:
    tenant, other = await new_tenant(server.admin), await new_tenant(server.admin)
    path = f"/v1/{work}"
    before = site.asked["/never"]
    wire = json_request(tenant, path, url=site.put("/never", never))
    since_s = await hang_up_at(
        server, wire, lambda: site.visits("/never", before + 1), rudely=rudely
    )
    page = answer(says(b"x"), "application/pdf") if work == "pdf" else answer("<p>")
    next_work = other.post(path, {"url": site.put("/next", page)})
    await slot_comes_back(server, tenant, next_work, since_s)
    await site.quiet()


async def test_a_client_that_goes_while_its_upload_is_read_frees_the_slot(server: Server) -> None:
    tenant, other = await new_tenant(server.admin), await new_tenant(server.admin)

    async def taken() -> bool:
        return (await other.remaining())["pdf_workers"] == 0

    wire = upload(tenant, slow())
    since_s = await hang_up_at(server, wire, lambda: eventually(taken), rudely=False)
    next_work = other.post("/v1/pdf", files={"file": says(b"x")})
    await slot_comes_back(server, tenant, next_work, since_s)


async def test_a_client_that_goes_while_it_waits_was_never_there(
    server: Server, site: Site
) -> None:
    tenant, other = await new_tenant(server.admin), await new_tenant(server.admin)
    before = site.asked["/never"]
    wire = json_request(tenant, "/v1/render", url=site.put("/never", never))
    _, first = await server.connect()
    first.write(wire)
    await site.visits("/never", before + 1)
    second_wire = json_request(other, "/v1/render", url=site.url("/never"))
    await hang_up_at(server, second_wire, lambda: queue_is(server, 1), rudely=False)
    await queue_is(server, 0)
    first.close()
    await first.wait_closed()
    await eventually(lambda: failed_once(tenant))
    assert (await other.usage())["failed_count"] == 0
    assert site.asked["/never"] == before + 1


async def queue_is(server: Server, depth: int) -> None:
    async def told() -> bool:
        return f"tidegate_queue_depth {depth}\n" in (await server.http.get("/metrics")).text

    await eventually(told)


async def test_a_claim_whose_caller_went_holds_nothing(server: Server) -> None:
    tenant = await new_tenant(server.admin)
    held = good(await tenant.post("/v1/claims", {"hold": {"seats": 1}}), 201)
    wire = json_request(tenant, "/v1/claims", hold={"seats": 1}, timeout_s=60)
    await hang_up_at(server, wire, lambda: queue_is(server, 1), rudely=False)
    await queue_is(server, 0)
    assert (await tenant.delete(f"/v1/leases/{held['lease_id']}")).status_code == 204
    assert good(await tenant.get("/v1/leases"))["leases"] == []
    assert (await tenant.remaining())["seats"] == 1


@pytest.mark.parametrize("part", [10, 120, -1])
async def test_a_client_that_goes_before_it_has_asked_is_nothing(server: Server, part: int) -> None:
    tenant = await new_tenant(server.admin)
    for wire in (upload(tenant, says(b"x")), json_request(tenant, "/v1/extract", html="<p>")):
        _, writer = await server.connect()
        writer.write(wire[:part])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert good(await tenant.get("/v1/leases"))["leases"] == []
    used = await tenant.usage()
    assert (used["operation_count"], used["failed_count"]) == (0, 0)
    assert await free(tenant)


def upload(tenant: Caller, file: bytes) -> bytes:
    """Return an upload as it goes over the wire."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + file + b"\r\n--x--\r\n"
    return request(tenant, "/v1/pdf", body, "multipart/form-data; boundary=x")
