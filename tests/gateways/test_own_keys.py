"""Gateways that pass on the key of the client, and hold none themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateways.app import App
from tests.gateways.conftest import Stage
from tests.gateways.gateway import KINDS, Gateway, gateway

NAMES = [name for name, kind in KINDS.items() if kind.own_keys]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.needs(KINDS[name].program)) for name in NAMES],
)
def keyless(request: pytest.FixtureRequest, gates: Stage) -> Iterator[Gateway]:
    """Every gateway that can."""
    changes = KINDS[request.param].own_keys
    with gateway(request.param, gates.folder, gates.ports, changes=changes) as running:
        yield running


def test_the_key_says_who_asks(keyless: Gateway, gates: Stage) -> None:
    _, key = gates.tenant(burst=500)
    answer = keyless.client.get("/page", headers=key)
    assert answer.status_code == 200, answer.text
    assert answer.headers["RateLimit"].startswith('"requests";r=499')


@pytest.mark.parametrize("shown", [{}, {"Authorization": "Bearer tg_nobody"}])
def test_without_a_key_that_somebody_has_nobody_passes(
    keyless: Gateway, app: App, shown: dict[str, str]
) -> None:
    answer = keyless.client.get("/unknown-key", headers={**shown, "X-Tenant-ID": "tenant-1"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "/unknown-key" not in app.asked


def test_nobody_acts_for_another_tenant(keyless: Gateway, gates: Stage, app: App) -> None:
    _, key = gates.tenant()
    other, _ = gates.tenant(burst=7)
    answer = keyless.client.get("/as-another", headers={**key, "X-Tenant-ID": other})
    # HAProxy is not told the header in this arrangement: the key alone counts.
    if answer.status_code == 200:
        assert '"requests";q=7' not in answer.headers["RateLimit-Policy"]
    else:
        assert answer.status_code == 403
