"""What every real gateway does with the file that its guide shows."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx
import pytest

from tests.gateways.app import App
from tests.gateways.conftest import Stage
from tests.gateways.gateway import ADMIN_KEY, KINDS, Gateway
from tests.integration.serving import DEADLINE_S, until

_numbers = count(1)
ATTEMPTS = 12
"""More requests at once than a tenant with a burst of 3 may send, however slow the machine is."""

LEFT = r'"requests";r=(999|1000);t=\d'
"""A thousand a second: what was taken may be back before it is told what is left."""


def path() -> str:
    """A path that nobody asked for yet."""
    return f"/page-{next(_numbers)}"


def crowd(gate: Gateway, where: str, tenant: str, **headers: str) -> list[httpx.Response]:
    with ThreadPoolExecutor(ATTEMPTS) as pool:
        return list(pool.map(lambda _: gate.get(where, tenant, **headers), range(ATTEMPTS)))


def statuses(answers: list[httpx.Response]) -> set[int]:
    return {answer.status_code for answer in answers}


def test_what_is_allowed_passes_and_is_told_its_limits(each: Gateway, gates: Stage) -> None:
    name, _ = gates.tenant(burst=1000)
    where = path()
    answer = each.get(f"{where}?a=b", name)
    assert answer.status_code == 200, answer.text
    assert answer.json()["path"] == f"{where}?a=b"
    assert re.fullmatch(LEFT, answer.headers["RateLimit"])
    assert answer.headers["RateLimit-Policy"] == '"requests";q=1000;w=1'
    assert "X-Tidegate-Lease" not in answer.headers
    assert ADMIN_KEY not in answer.text


def test_a_body_passes_unharmed(each: Gateway, gates: Stage) -> None:
    name, _ = gates.tenant()
    sent = b"x" * 300_000
    answer = each.client.post(path(), content=sent, headers={"X-Tenant-ID": name})
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == len(sent)
    assert answer.json()["method"] == "POST"


@pytest.mark.parametrize("status", [201, 304, 401, 403, 404, 429, 500, 503])
def test_what_the_application_answers_is_left_alone(
    each: Gateway, gates: Stage, status: int
) -> None:
    name, _ = gates.tenant()
    where = f"{path()}?status={status}"
    answer = each.get(where, name)
    assert answer.status_code == status
    assert re.fullmatch(LEFT, answer.headers["RateLimit"])
    if status != 304:
        assert answer.json()["path"] == where
    assert each.client.head(where, headers={"X-Tenant-ID": name}).status_code == status


def test_what_is_refused_gets_429_and_when_to_return(each: Gateway, gates: Stage, app: App) -> None:
    name, _ = gates.tenant(burst=3, per_second=1)
    where = path()
    answers = crowd(each, where, name)
    assert statuses(answers) == {200, 429}
    passed = [answer for answer in answers if answer.status_code == 200]
    assert 3 <= len(passed) == app.asked.count(where)
    for refused in (answer for answer in answers if answer.status_code == 429):
        assert int(refused.headers["Retry-After"]) >= 1
        assert re.match(r'"requests";r=0;t=[12]', refused.headers["RateLimit"])
        assert refused.headers["RateLimit-Policy"] == '"requests";q=3;w=3'
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["status"] == 429
    other, _ = gates.tenant()
    assert each.get(where, other).status_code == 200


def test_a_connection_stays_open_through_refusals(each: Gateway, gates: Stage) -> None:
    name, _ = gates.tenant(burst=1, per_second=1)
    answers = [each.get(path(), name) for _ in range(4)]
    assert 429 in statuses(answers)
    assert all(answer.headers.get("Connection") != "close" for answer in answers)


def test_clients_can_choose_neither_price_nor_retry(each: Gateway, gates: Stage) -> None:
    name, _ = gates.tenant(burst=3, per_second=1)
    chosen = {
        "X_Request_ID": "1",
        "Idempotency_Key": "1",
        "X_Forwarded_Uri": "/status",
        "X_Forwarded_Method": "OPTIONS",
        "X_Original_Uri": "/status",
        "X_Tidegate_Carry": "200",
    }
    answers = crowd(each, "/page?carry=200", name, **chosen)
    assert statuses(answers) == {200, 429}
    assert [answer.status_code for answer in answers].count(200) < ATTEMPTS - 3


@pytest.mark.parametrize("named", ["", "nobody-at-all", "No Tenant!"])
def test_nobody_passes_without_a_tenant(each: Gateway, app: App, named: str) -> None:
    where = path()
    assert each.get(where, named).status_code in (400, 403, 404, 429)
    assert where not in app.asked


def test_a_suspended_tenant_does_not_pass(each: Gateway, gates: Stage, app: App) -> None:
    name, _ = gates.tenant()
    service, where = gates.service, path()
    answer = service.client.post(f"/admin/tenants/{name}/suspend", headers=service.admin())
    assert answer.status_code == 200
    assert each.get(where, name).status_code in (403, 429)
    assert where not in app.asked


def test_a_client_that_hangs_up_leaves_nothing_behind(
    each: Gateway, gates: Stage, app: App
) -> None:
    name, _ = gates.tenant()
    with each.begin("/slow", name):
        assert app.waiting.acquire(timeout=DEADLINE_S)
    app.go.set()
    until(lambda: gates.held() == 0, "nothing is held")
    assert each.get(path(), name).status_code == 200


def test_the_files_of_the_guide_have_all_marks() -> None:
    """So that a change of an example cannot take the teeth out of the tests that change it."""
    from tests.gateways.gateway import EXAMPLES

    for kind in KINDS.values():
        text = "\n".join((EXAMPLES / file).read_text("utf-8") for file in kind.files)
        for pattern, _ in (*kind.opens, *kind.own_keys):
            assert re.search(pattern, text), pattern
