"""Single endpoints that are governed: they keep what is injected, and refuse properly."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from tests.integration.framework_endpoints import (
    CLAIM,
    claim_of,
    django_asgi_app,
    django_wsgi_app,
    fastapi_app,
    flask_app,
    litestar_app,
    starlette_app,
)
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
from tidegate.entrypoints.middleware import governed
from tidegate.errors import InvalidClaim, InvalidRequest


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
