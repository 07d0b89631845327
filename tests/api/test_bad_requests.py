"""Requests that fit no route: wrong method, wrong path, wrong kind of upload, wrong header."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.harness import Api, Caller, bad, fields, good
from tests.api.routes import BODIES, LIMITS, OPEN, OTHERS, caller_of, filled
from tests.pdf_samples import says

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"limits": LIMITS, "body_max_bytes": 2**20}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"}
PDF = says(b"Read me")
MULTIPART = "multipart/form-data; boundary=x"


def methods_by_path() -> dict[str, set[str]]:
    known: dict[str, set[str]] = {"/docs": {"GET"}, "/openapi.json": {"GET"}}
    for method, path in {*BODIES, *OTHERS, *OPEN}:
        known.setdefault(path, set()).add(method)
    return {
        path: methods | {"HEAD"} if "GET" in methods else methods for path, methods in known.items()
    }


@pytest.mark.parametrize(("path", "taken"), methods_by_path().items())
async def test_another_method_is_told_which_there_are(
    api: Api, tenant: Caller, path: str, taken: set[str]
) -> None:
    caller = caller_of(path, api.admin, tenant)
    for method in METHODS - taken:
        answer = await caller.call(method, filled(path, tenant=tenant.id))
        assert answer.status_code == 405, (method, answer.text)
        if method != "HEAD":
            bad(answer, 405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == taken


@pytest.mark.parametrize(
    "path",
    [
        "/v1/",
        "/v1/nothing",
        "/v1/render/",
        "/v1/claims//explain",
        "/v1/leases/a/b/renew",
        "/V1/limits",
        "/v1/..%2fadmin/tenants",
        "/v1/%2e%2e/admin/tenants",
        "/admin/",
        "/admin/nothing",
        "/admin/tenants/",
        "/docs/",
        "/docs/assets/%2e%2e/%2e%2e/app.py",
        "/docs/assets/nothing.js",
        "/metrics/x",
        "/caf\N{LATIN SMALL LETTER E WITH ACUTE}",
        "/%ff%fe",
        "/\N{SNOWMAN}" * 100,
    ],
)
async def test_there_is_nothing_elsewhere(api: Api, tenant: Caller, path: str) -> None:
    for caller in (tenant, api.admin):
        own = {"X-Tenant-ID": tenant.id} if caller is api.admin else {}
        for method in ("GET", "POST"):
            answer = await caller.call(method, path, headers=own)
            if path.startswith("/admin") and caller is tenant:
                bad(answer, 403, "forbidden")
            elif path.startswith("/docs/assets") and method == "POST":
                bad(answer, 405, "method_not_allowed")
            else:
                bad(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("files", "data", "named"),
    [
        ({}, {"timeout_s": "1"}, {"file"}),
        ({"document": PDF}, {}, {"document", "file"}),
        ({"file": PDF}, {"pages": "1"}, {"pages"}),
        ({"file": PDF}, {"timeout_s": "soon"}, {"timeout_s"}),
        ({"file": PDF}, {"timeout_s": ""}, {"timeout_s"}),
        ({"file": PDF}, {"timeout_s": "nan"}, {"timeout_s"}),
        ({"file": PDF}, {"timeout_s": "inf"}, {"timeout_s"}),
        ({"file": PDF}, {"timeout_s": "-1"}, {"timeout_s"}),
        ({"file": PDF}, {"timeout_s": "11"}, {"timeout_s"}),
        ({}, {"file": "not a file", "timeout_s": "1"}, {"file"}),
        ({"document": PDF}, {"timeout_s": "soon"}, {"document", "file", "timeout_s"}),
    ],
)
async def test_wrong_fields_of_an_upload_are_named(
    api: Api, tenant: Caller, files: dict[str, bytes], data: dict[str, str], named: set[str]
) -> None:
    # Without a file, httpx would send no multipart body.
    parts: Any = {**files, **({} if files else {name: (None, data[name]) for name in data})}
    answer = await tenant.post("/v1/pdf", files=parts, data=data if files else None)
    assert fields(bad(answer, 422, "invalid_request")) == named


async def test_an_upload_may_say_how_long_it_may_take(api: Api, tenant: Caller) -> None:
    answer = await tenant.post("/v1/pdf", files={"file": PDF}, data={"timeout_s": "9.5"})
    assert good(answer)["page_count"] == 1


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b"--x\r\n\r\n--x--"),
        ("multipart/form-data; boundary=", b""),
        (MULTIPART, b""),
        (MULTIPART, b"no boundary here"),
        (MULTIPART, b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--"),
        (MULTIPART, b"--x\r\nbroken header\r\n\r\n1\r\n--x--"),
        pytest.param(
            MULTIPART,
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%PDF cut off',
            # The framework leaves the closing of a part that has no end to the garbage collector.
            marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
        ),
    ],
)  # fmt: skip
async def test_a_broken_upload_is_an_error_of_its_sender(
    api: Api, tenant: Caller, kind: str, content: bytes
) -> None:
    answer = await tenant.post("/v1/pdf", content=content, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422), answer.text
    bad(answer, answer.status_code, answer.json()["code"])


async def test_two_files_are_one_too_many(api: Api, tenant: Caller) -> None:
    files = [("file", PDF), ("file", PDF)]
    bad(await tenant.post("/v1/pdf", files=files), 400, "unreadable")


async def test_a_large_upload_is_refused(api: Api, tenant: Caller) -> None:
    large = PDF + bytes(api.settings.body_max_bytes + 2**16)
    bad(await tenant.post("/v1/pdf", files={"file": large}), 413, "too_large")


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 129, "caf\xe9", "tab\there"])
@pytest.mark.parametrize("path", ["/v1/render", "/v1/extract", "/v1/pdf", "/v1/claims"])
async def test_an_idempotency_key_is_plain_and_short(
    api: Api, tenant: Caller, path: str, key: str
) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = await tenant.call("POST", path, json=BODIES["POST", path], headers=headers)
    assert fields(bad(answer, 422, "invalid_request")) == {"Idempotency-Key"}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=1.5", "limit="])
async def test_a_wrong_query_is_named(api: Api, query: str) -> None:
    answer = await api.admin.get(f"/admin/audit?{query}")
    assert fields(bad(answer, 422, "invalid_request")) == {"limit"}
