"""What the service tells about itself: the OpenAPI document, its page, metrics and health."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.harness import Api, Caller, bad, good, opened, settings_of
from tests.api.routes import BODIES
from tests.api.site import answer
from tidegate.facades.metrics import FAMILIES, PREFIX

pytestmark = pytest.mark.anyio

PAGES = {
    "health": ["/healthz", "/readyz"],
    "metrics": ["/metrics"],
    "docs": ["/docs", "/openapi.json", "/docs/assets/swagger-ui.css"],
}


class Links(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


async def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = good(await api.http.get("/openapi.json"))
    return found


async def test_every_route_says_what_it_is_and_shows_an_example(api: Api) -> None:
    for path, operations in (await document(api))["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                assert content or status == "204", (where, status)
                for kind, shown in content.items():
                    assert "example" in shown, (where, status, kind)
                    assert kind == "application/problem+json" or status[0] == "2", where
            if not path.startswith(("/v1", "/admin")):
                continue
            assert operation["security"], where
            assert {"4XX", "5XX"} <= set(operation["responses"]), where
            assert "422" not in operation["responses"], "our errors are not the framework's"


async def test_every_body_has_an_example_that_is_accepted(api: Api) -> None:
    """Of those that need nothing from outside, the answer must be a good one."""
    spec = await document(api)
    for method, path in BODIES:
        body = spec["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]
        name = body["schema"].get("$ref", "").rpartition("/")[2]
        if name:
            examples = spec["components"]["schemas"][name]["examples"]
        elif "example" in body:
            examples = [body["example"]]
        else:
            names = [part.get("$ref", "").rpartition("/")[2] for part in body["schema"]["anyOf"]]
            examples = spec["components"]["schemas"][names[0]]["examples"]
        assert examples, path
        if path == "/admin/tenants":
            created = await api.admin.post(path, examples[0])
            assert created.json()["plan"] == "basic"


async def test_the_page_loads_nothing_from_other_hosts(api: Api) -> None:
    page = await api.http.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    links = Links()
    links.feed(page.text)
    assert links.found
    assert re.findall(r"(?:https?:)?//[^\s'\"<>]+", page.text) == []
    for link in links.found:
        asset = await api.http.get(link)
        assert asset.status_code == 200, link
        assert len(asset.content) > 100, link
    assert "/openapi.json" in page.text


async def test_metrics_can_be_parsed_and_tell_what_happened(api: Api, tenant: Caller) -> None:
    good(await tenant.post("/v1/extract", {"html": "<p>"}))
    bad(await tenant.get("/v1/nothing/at/all"), 404, "not_found")
    bad(await tenant.delete("/v1/leases/none"), 404, "lease_unknown")
    odd = await api.http.request("BREW", '/nothing"%0a{}')
    bad(odd, 404, "not_found")
    response = await api.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(response.text)}
    assert {f"{PREFIX}{family.name.removesuffix('_total')}" for family in FAMILIES} == set(families)
    requests = {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"])
        for sample in families["tidegate_http_requests"].samples
    }
    assert ("/v1/extract", "POST", "200") in requests
    assert ("/v1/leases/{lease_id}", "DELETE", "404") in requests
    assert ("unmatched", "GET", "404") in requests
    assert ("unmatched", "other", "404") in requests
    done = [
        sample.value
        for sample in families["tidegate_operations"].samples
        if sample.labels == {"operation": "extract", "outcome": "success"}
    ]
    assert done
    assert done[0] >= 1


async def test_health_is_told_with_every_component(api: Api) -> None:
    assert good(await api.http.get("/healthz")) == {"status": "ok"}
    ready = good(await api.http.get("/readyz"))
    assert ready["ready"] is True
    states = {part["name"]: part["state"] for part in ready["components"]}
    assert states["store"] == "ok"
    assert "degraded" in states.values(), "there is no browser here"
    health = good(await api.admin.get("/admin/health"))
    assert {pool["name"] for pool in health["pools"]} == {"browser", "wasm", "pdf"}
    assert len(health["counters"]) == 14
    assert health["counters"]["browser_pool_size"] == 3


async def test_resources_are_those_of_the_service(api: Api, tenant: Caller) -> None:
    shown = good(await tenant.get("/v1/resources"))
    assert shown["browsers_available"] == shown["browsers_total"] == 3
    assert shown["pdf_workers_available"] == shown["pdf_workers_total"] == 2
    assert shown["memory_pressure"] is False
    assert 0 <= shown["degradation_score"] <= 1
    assert set(shown) >= {"memory_used_bytes", "rate_limit_hits", "timeouts_count"}


@pytest.mark.parametrize("group", PAGES)
async def test_each_open_route_can_be_closed(
    api: Api, tenant: Caller, group: str, tmp_path: Any
) -> None:
    settings = settings_of({"open_routes": {group: False}})
    async with opened(settings, tmp_path, api.site) as other:
        for name, pages in PAGES.items():
            for page in pages:
                nobody = await other.http.get(page)
                if name != group:
                    assert nobody.status_code == 200, page
                    continue
                bad(nobody, 401, "unauthenticated")
                stranger = await other.tenant()
                bad(await stranger.get(page), 403, "forbidden")
                bad(await other.http.get(page + "/"), 401, "unauthenticated")
                assert (await other.admin.get(page)).status_code == 200


async def test_every_answer_carries_an_id_of_its_own(api: Api, tenant: Caller) -> None:
    url = api.site.put("/page", answer("<p>"))
    answers = [
        await api.http.get("/healthz"),
        await api.http.get("/nothing"),
        await api.http.get("/v1/usage"),
        await tenant.get("/v1/usage"),
        await tenant.post("/v1/extract", {"url": url}),
        await tenant.delete("/v1/leases/none"),
    ]
    assert len({each.headers["x-request-id"] for each in answers}) == len(answers)
