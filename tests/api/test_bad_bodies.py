"""Bodies that cannot be read, on every route that takes one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.harness import Api, Caller, bad, fields, good
from tests.api.routes import BODIES, LIMITS, WITH_BODY, caller_of, filled
from tidegate.entrypoints.http.large_json import SMALL_BYTES

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"limits": LIMITS, "body_max_bytes": 2**20}
JSON = {"Content-Type": "application/json"}
BARE = {
    ("POST", "/admin/tenants/{tenant_id}/suspend"),
    ("POST", "/v1/leases/{lease_id}/renew"),
}
"""The routes that may do without a body."""

UNREADABLE = {
    "cut off": b'{"url": "http',
    "no JSON": b"url=http://example.com/",
    "two values": b"{} {}",
    "not UTF-8": b'{"url": "\xff\xfe\xfa"}',
    "a cut-off character": b'{"url": "\xe2\x82"}',
    "a raw control character": b'{"url": "a\x00b"}',
    "single quotes": b"{'url': 1}",
    "nested too deeply, lists": b"[" * 100_000,
    "nested too deeply, objects": b'{"a":' * 20_000,
    "nested too deeply, closed": b"[" * 50_000 + b"]" * 50_000,
    "a number of 5,000 digits": b'{"timeout_s": ' + b"9" * 5000 + b"}",
    "only white space": b"  \n ",
}

NOT_AN_OBJECT = {
    "a list": b"[]",
    "a text": b'"text"',
    "a number": b"17",
    "true": b"true",
}

Route = tuple[str, str]
routes = pytest.mark.parametrize("route", WITH_BODY, ids=" ".join)


async def send(api: Api, tenant: Caller, route: Route, **request: Any) -> Any:
    method, path = route
    caller = caller_of(path, api.admin, tenant)
    return await caller.call(method, filled(path, tenant=tenant.id), **request)


@routes
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_is_no_json_is_unreadable(
    api: Api, tenant: Caller, route: Route, content: bytes
) -> None:
    bad(await send(api, tenant, route, content=content, headers=JSON), 400, "unreadable")


@routes
@pytest.mark.parametrize("content", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT)
async def test_what_is_no_object_is_wrong(
    api: Api, tenant: Caller, route: Route, content: bytes
) -> None:
    answer = await send(api, tenant, route, content=content, headers=JSON)
    problem = bad(answer, 422, "invalid_request")
    assert [entry["field"] for entry in problem["errors"]] == ["body"]


@routes
async def test_a_body_is_wanted(api: Api, tenant: Caller, route: Route) -> None:
    for content in (b"", b"null"):
        answer = await send(api, tenant, route, content=content, headers=JSON)
        if route in BARE:
            assert answer.status_code in (200, 404)
        else:
            bad(answer, 422 if content or route[1] != "/v1/pdf" else 400, answer.json()["code"])
    answer = await send(api, tenant, route)
    if route not in BARE:
        bad(answer, 415, "unsupported_media_type")


@routes
async def test_unknown_fields_are_named_whatever_they_are_called(
    api: Api, tenant: Caller, route: Route
) -> None:
    names = ["surplus", "", "a\x00b", "\N{SNOWMAN}", "__proto__", "x" * 5_000]
    body = {**BODIES[route], **dict.fromkeys(names, 1)}
    answer = await send(api, tenant, route, content=json.dumps(body), headers=JSON)
    problem = bad(answer, 422, "invalid_request")
    assert len(problem["errors"]) == len(names)
    assert {"surplus", "a\x00b", "\N{SNOWMAN}"} <= fields(problem)
    assert len(answer.content) < 5_000


@routes
async def test_a_flood_of_wrong_fields_is_refused_in_few_words(
    api: Api, tenant: Caller, route: Route
) -> None:
    body = json.dumps({str(number): number for number in range(5_000)})
    answer = await send(api, tenant, route, content=body, headers=JSON)
    assert fields(bad(answer, 422, "invalid_request")) == {"body"}
    assert len(answer.content) < 1_000


@routes
@pytest.mark.parametrize("escape", ['"\\ud800": 1', '"url": "\\udfff"', '"name": "\\ud800x"'])
async def test_half_a_surrogate_pair_is_refused(
    api: Api, tenant: Caller, route: Route, escape: str
) -> None:
    answer = await send(api, tenant, route, content=f"{{{escape}}}", headers=JSON)
    assert (answer.status_code, answer.json()["code"]) in {
        (400, "unreadable"),
        (422, "invalid_request"),
    }


@routes
@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/jsonp",
        "json",
        ";;;",
        "",
    ],
)
async def test_other_media_types_are_not_supported(
    api: Api, tenant: Caller, route: Route, media_type: str
) -> None:
    headers = {"Content-Type": media_type}
    content = json.dumps(BODIES[route])
    answer = await send(api, tenant, route, content=content, headers=headers)
    bad(answer, 415, "unsupported_media_type")


@routes
@pytest.mark.parametrize("stated", [True, False], ids=["by length", "in chunks"])
async def test_a_body_may_be_so_large_and_no_larger(
    api: Api, tenant: Caller, route: Route, stated: bool
) -> None:
    large = route[1] == "/v1/extract"
    limit = api.settings.body_max_bytes if large else SMALL_BYTES
    padding = b" " * limit

    async def chunks() -> Any:
        for start in range(0, len(padding) + 1, 65_536):
            yield padding[start : start + 65_536] or b" "

    content = padding + b" " if stated else chunks()
    bad(await send(api, tenant, route, content=content, headers=JSON), 413, "too_large")
    bad(await send(api, tenant, route, content=padding, headers=JSON), 400, "unreadable")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ('{"url": [' + "1," * 300_000 + "1]}", "url"),
        ('{"html": {' + '"a":1,' * 100_000 + '"a":1}}', "html"),
        ('{"html": "<p>", "surplus": [' + "[],".rjust(900_000) + "1]}", "surplus"),
        ("[" + "1," * 300_000 + "1]", "body"),
    ],
    ids=["a list for a text", "a map for a text", "unknown", "no map at all"],
)
async def test_large_bodies_of_the_wrong_shape_are_named_too(
    api: Api, tenant: Caller, body: str, wrong: str
) -> None:
    answer = await tenant.post("/v1/extract", content=body, headers=JSON)
    assert fields(bad(answer, 422, "invalid_request")) == {wrong}


async def test_a_large_page_is_read(api: Api, tenant: Caller) -> None:
    page = "<title>Large</title>" + "<p>text</p>" * 60_000
    answer = good(await tenant.post("/v1/extract", {"html": page, "timeout_s": 10}))
    assert answer["title"] == "Large"
    cut = json.dumps({"html": page})[:-2]
    bad(await tenant.post("/v1/extract", content=cut, headers=JSON), 400, "unreadable")
