"""The middleware around real frameworks, on real servers, with real clients that come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest

from tests.integration.framework_apps import (
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
    HalfReader,
    Room,
    asgi_server,
    free,
    gate_of,
    until,
    werkzeug_server,
    wsgiref_server,
)
from tidegate import Claim, Gate
from tidegate.entrypoints.middleware import (
    AdmissionMiddleware,
    AdmissionMiddlewareWSGI,
    by_header,
)

CASES: dict[str, tuple[Any, Any, Any]] = {
    "starlette": (starlette_app, AdmissionMiddleware, asgi_server),
    "fastapi": (fastapi_app, AdmissionMiddleware, asgi_server),
    "litestar": (litestar_app, AdmissionMiddleware, asgi_server),
    "django-asgi": (django_asgi_app, AdmissionMiddleware, asgi_server),
    "flask": (flask_app, AdmissionMiddlewareWSGI, werkzeug_server),
    "django-wsgi": (django_wsgi_app, AdmissionMiddlewareWSGI, wsgiref_server),
}
CLAIM = by_header("X-Tenant", take={"requests": 1}, hold={"slots": 1})
VISITS = 24


@dataclass
class Site:
    """One framework's application, and what surrounds it."""

    name: str
    gate: Gate = field(default_factory=gate_of)
    room: Room = field(default_factory=Room)

    def served(self, **options: Any) -> AbstractContextManager[str]:
        make, middleware, server = CASES[self.name]
        app = middleware(make(self.room), gate=self.gate, claim=CLAIM, **options)
        context: AbstractContextManager[str] = server(app)
        return context


@pytest.fixture(params=list(CASES))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(request.param)
    yield site
    site.gate.close()


def get(address: str, path: str, tenant: str = "acme") -> httpx.Response:
    headers = {"X-Tenant": tenant}
    return httpx.get(
        f"http://{address}{path}", headers=headers, timeout=DEADLINE_S, trust_env=False
    )


def together(address: str, path: str, count: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: get(address, path), range(count)))


def freed(gate: Gate, slots: int) -> bool:
    return free(gate) == slots


def test_never_are_more_inside_than_there_are_slots(site: Site) -> None:
    with site.served(timeout_s=DEADLINE_S) as address:
        answers = together(address, "/visit", VISITS)
        until(lambda: free(site.gate) == SLOTS, "everything was given back")
    assert [answer.status_code for answer in answers] == [200] * VISITS
    assert {answer.text.strip('"') for answer in answers} == {"visited"}
    assert (site.room.most, site.room.visits, site.room.inside) == (SLOTS, VISITS, 0)


def test_who_does_not_wait_is_refused_and_costs_nothing(site: Site) -> None:
    site.room.locked = True
    with site.served() as address, ThreadPoolExecutor(SLOTS) as pool:
        inside = [pool.submit(get, address, "/visit") for _ in range(SLOTS)]
        until(lambda: site.room.inside == SLOTS, "the room is full")
        refused = together(address, "/visit", VISITS)
        site.room.open()
        assert [visit.result(DEADLINE_S).status_code for visit in inside] == [200] * SLOTS
        until(lambda: free(site.gate) == SLOTS, "everything was given back")
    assert [answer.status_code for answer in refused] == [503] * VISITS
    assert (site.room.most, site.room.visits) == (SLOTS, SLOTS)
    assert site.gate.limits(Claim(tenant="acme"))[0].remaining == 10_000 - SLOTS
    for answer in refused:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "exhausted"
        assert answer.json()["violated-policies"] == ["slots"]
        assert re.match(r'"slots";r=0(;t=\d+)?, "requests";r=9997$', answer.headers["ratelimit"])


def test_hanging_up_midway_gives_the_slot_back(site: Site) -> None:
    with site.served() as address:
        readers = [HalfReader(address, "/stream") for _ in range(SLOTS)]
        assert b"ratelimit" in readers[0].beginning.lower()
        assert get(address, "/hello").status_code == 503
        for number, reader in enumerate(readers):
            reader.hang_up()
            until(partial(freed, site.gate, number + 1), "a slot came back")
        assert get(address, "/hello").status_code == 200
        until(lambda: free(site.gate) == SLOTS, "the last one came back")
    assert site.gate.releases["cancelled"] == SLOTS


def test_failing_gives_the_slot_back(site: Site) -> None:
    with site.served() as address:
        for _ in range(SLOTS + 2):
            assert get(address, "/boom").status_code == 500
            until(lambda: free(site.gate) == SLOTS, "the slot came back")
    assert site.gate.releases["failed"] == SLOTS + 2


def test_each_tenant_has_a_rate_and_is_told_where_it_stands(site: Site) -> None:
    site.gate = gate_of(requests=2)
    with site.served(legacy_headers=True) as address:
        first, second, third = (get(address, "/hello") for _ in range(3))
        assert [get(address, "/hello", "other").status_code for _ in range(3)] == [200, 200, 429]
    assert [each.status_code for each in (first, second, third)] == [200, 200, 429]
    assert re.fullmatch(r'"requests";r=1;t=\d+, "slots";r=2', first.headers["ratelimit"])
    assert re.fullmatch(r'"requests";r=0;t=\d+, "slots";r=2', second.headers["ratelimit"])
    assert re.fullmatch(r'"requests";r=0;t=\d+, "slots";r=3', third.headers["ratelimit"])
    for answer in (first, second, third):
        assert answer.headers["ratelimit-policy"] == '"requests";q=2;w=100000000, "slots";q=3'
        assert answer.headers["x-ratelimit-limit"] == "2"
    wait_s = third.json()["retry_after_s"]
    assert wait_s <= int(third.headers["retry-after"]) <= wait_s * 1.1 + 1
    assert third.json() == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Quota Exceeded",
        "status": 429,
        "detail": third.json()["detail"],
        "code": "rate_limited",
        "limit": "requests",
        "scope": ["acme"],
        "violated-policies": ["requests"],
        "remaining": 0,
        "retry_after_s": wait_s,
    }
