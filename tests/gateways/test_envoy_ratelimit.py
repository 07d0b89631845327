"""Envoy's rate limit service: tokens that are settled afterwards, and what other clients see."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateways.app import App
from tests.gateways.conftest import Stage, stage
from tests.gateways.gateway import ADMIN_KEY, ENVOY, Gateway, gateway
from tests.gateways.places import MESSAGES
from tests.integration.serving import open_folder, until

Call = Callable[..., dict[str, Any]]
CLIENT = Path(__file__).with_name("reference.py")


@pytest.fixture(scope="module")
def envoy(gates: Stage) -> Iterator[Gateway]:
    with gateway("envoy-ratelimit", gates.folder, gates.ports) as running:
        yield running


def left(answer: Any) -> int:
    return int(answer.headers["RateLimit"].split("r=")[1].split(";")[0])


@pytest.mark.needs("envoy")
def test_what_was_used_is_charged_after_the_answer(envoy: Gateway, gates: Stage) -> None:
    tenant, _ = gates.tenant()
    first = envoy.get("/chat?used=400", tenant)
    assert first.status_code == 200
    assert left(first) == 1000
    until(lambda: left(envoy.get("/chat", tenant)) < 700, "the tokens are charged")
    assert 600 <= left(envoy.get("/chat", tenant)) < 700


@pytest.mark.needs("envoy")
def test_a_debt_is_waited_for(envoy: Gateway, gates: Stage) -> None:
    tenant, _ = gates.tenant()
    assert envoy.get("/chat?used=5000", tenant).status_code == 200
    until(lambda: envoy.get("/chat", tenant).status_code == 429, "the debt is charged")
    refused = envoy.get("/chat", tenant)
    # 4,000 tokens above 1,000, at 1,000 a minute.
    assert 200 < int(refused.headers["Retry-After"]) <= 268
    assert refused.headers["RateLimit"].startswith('"llm_tokens";r=0')
    other, _ = gates.tenant()
    assert envoy.get("/chat", other).status_code == 200


@pytest.mark.needs("envoy")
@pytest.mark.parametrize("used", ["junk", "-5", "", "99999999999999999999"])
def test_a_count_that_is_none_charges_nothing_and_harms_nothing(
    envoy: Gateway, gates: Stage, used: str
) -> None:
    tenant, _ = gates.tenant()
    assert envoy.get(f"/chat?used={used}", tenant).status_code == 200
    again = envoy.get("/chat?used=1", tenant)
    assert again.status_code == 200
    assert left(again) == 1000


@pytest.fixture(scope="module")
def call(gates: Stage) -> Iterator[Call]:
    """Calls the service with grpcio, and returns what that makes of the answer."""
    command = [sys.executable, str(CLIENT)]
    env = {"PYTHONPATH": str(MESSAGES)}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:

        def call(request: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
            assert client.stdin is not None
            assert client.stdout is not None
            defaults = {"port": gates.ports[ENVOY], "key": ADMIN_KEY, "request": request}
            client.stdin.write(json.dumps({**defaults, **fields}) + "\n")
            client.stdin.flush()
            answer: dict[str, Any] = json.loads(client.stdout.readline())
            return answer

        yield call
        assert client.stdin is not None
        client.stdin.close()


def asking(tenant: str, *entries: tuple[str, str], **fields: Any) -> dict[str, Any]:
    named = [{"key": key, "value": value} for key, value in (("tenant", tenant), *entries)]
    return {"domain": "tidegate", "descriptors": [{"entries": named}], **fields}


def refusal(answer: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    response = answer["response"]
    assert response["overall_code"] == "OVER_LIMIT"
    headers = {each["key"]: each["value"] for each in response["response_headers_to_add"]}
    return headers["x-tidegate-status"], json.loads(base64.b64decode(response["raw_body"]))


@pytest.mark.needs("envoy_messages")
def test_an_answer_says_how_each_descriptor_stands(call: Call, gates: Stage) -> None:
    tenant, _ = gates.tenant(burst=7, per_second=7)
    request = asking(tenant, hits_addend=3)
    request["descriptors"].append({"entries": [{"key": "other", "value": "thing"}]})
    response = call(request)["response"]
    assert response["overall_code"] == "OK"
    requests, other = response["statuses"]
    assert requests["code"] == "OK"
    assert requests["limit_remaining"] == 4
    limit = requests["current_limit"]
    assert limit == {"name": "requests", "requests_per_unit": 7, "unit": "SECOND"}
    assert requests["duration_until_reset"].endswith("s")
    assert other == {"code": "OK"}
    headers = {each["key"]: each["value"] for each in response["response_headers_to_add"]}
    assert headers["RateLimit-Policy"] == '"requests";q=7;w=1'


@pytest.mark.needs("envoy_messages")
def test_a_refusal_says_which_descriptor_and_for_how_long(call: Call, gates: Stage) -> None:
    tenant, _ = gates.tenant()
    tokens = asking(tenant, ("resource", "tokens"))
    tokens["descriptors"][0]["hits_addend"] = "900"
    assert call(tokens)["response"]["overall_code"] == "OK"
    both = asking(tenant, ("resource", "tokens"))
    both["descriptors"][0]["hits_addend"] = "900"
    both["descriptors"].append({"entries": [{"key": "remote", "value": "192.0.2.1"}]})
    answer = call(both)
    refused, other = answer["response"]["statuses"]
    assert refused["code"] == "OVER_LIMIT"
    assert refused["current_limit"]["name"] == "llm_tokens"
    assert refused["current_limit"]["unit"] == "MINUTE"
    assert 40 < float(refused["duration_until_reset"].rstrip("s")) < 49
    assert other["code"] == "OK"
    status, problem = refusal(answer)
    assert (status, problem["code"], problem["limit"]) == ("429", "rate_limited", "llm_tokens")


@pytest.mark.needs("envoy_messages")
def test_no_hits_ask_and_charge_nothing(call: Call, gates: Stage) -> None:
    tenant, _ = gates.tenant(burst=5, per_second=1)
    probe = asking(tenant)
    probe["descriptors"][0]["hits_addend"] = "0"
    for _ in range(8):
        (standing,) = call(probe)["response"]["statuses"]
        assert standing["limit_remaining"] == 5
    assert call(asking(tenant, hits_addend=5))["response"]["overall_code"] == "OK"
    assert call(probe)["response"]["overall_code"] == "OVER_LIMIT"


@pytest.mark.needs("envoy_messages")
@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        pytest.param({"domain": "another"}, "422", "invalid_request", id="another domain"),
        pytest.param({"descriptors": []}, "400", "tenant_required", id="nothing to ask with"),
        pytest.param({"hits_addend": 4_000_000_000}, "422", "invalid_claim", id="never granted"),
        pytest.param(
            {"descriptors": [{"entries": [{"key": "tenant", "value": name}]} for name in "ab"]},
            "422",
            "invalid_request",
            id="two tenants",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_does_not_pass(
    call: Call, gates: Stage, fields: dict[str, Any], status: str, code: str
) -> None:
    tenant, _ = gates.tenant()
    told, problem = refusal(call({**asking(tenant), **fields}))
    assert (told, problem["code"]) == (status, code)


@pytest.mark.needs("envoy_messages")
def test_a_key_is_needed(call: Call, gates: Stage) -> None:
    tenant, key = gates.tenant()
    other, _ = gates.tenant()
    own = key["Authorization"].removeprefix("Bearer ")
    assert call(asking(tenant), key=own)["response"]["overall_code"] == "OK"
    assert refusal(call(asking(other), key=own))[0] == "403"
    assert refusal(call(asking(tenant), key="tg_nobody"))[0] == "401"
    assert refusal(call(asking(tenant), key=None))[0] == "401"


@pytest.mark.needs("envoy_messages")
def test_what_is_too_large_is_a_fault_with_a_status(call: Call, gates: Stage) -> None:
    tenant, _ = gates.tenant()
    assert call(asking(tenant, ("padding", "x" * 40_000)))["status"] == "RESOURCE_EXHAUSTED"
    many = asking(tenant, *((f"entry-{number}", "x" * 20) for number in range(500)))
    assert call(many)["response"]["overall_code"] == "OK"
    assert call(method="health")["response"] == [8, 1]


@pytest.mark.needs("envoy_messages")
def test_without_keys_where_the_settings_say_so(call: Call, app: App) -> None:
    with open_folder() as folder:
        changes = ((r"envoy:\n", "envoy:\n  key_required: false\n"),)
        with stage(app, folder, changes) as trusting:
            tenant, _ = trusting.tenant()
            port = trusting.ports[ENVOY]
            answer = call(asking(tenant), key=None, port=port)
            assert answer["response"]["overall_code"] == "OK"
            assert refusal(call(asking("nobody"), key=None, port=port))[0] == "404"
            assert refusal(call({"domain": "tidegate"}, key=None, port=port))[0] == "401"
