"""A service whose work goes badly keeps its claims of low priority out, and says why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.harness import Api, Caller, bad, good
from tidegate import Capacity

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "limits": [{"kind": "capacity", "resource": "seats", "units": 2, "claimable": True}],
    "browser": {"slots": 3, "adaptive": {"algorithm": "aimd", "minimum": 2}},
}


async def test_low_priorities_are_refused_while_work_goes_badly(api: Api, tenant: Caller) -> None:
    body = {"hold": {"seats": 1}}
    monitor = api.service.status._monitor
    for _ in range(100):
        monitor.record_timeout("render", 3_000_000)
    answer = await tenant.post("/v1/claims", {**body, "priority": 499})
    bad(answer, 503, "degraded")
    assert int(answer.headers["Retry-After"]) >= 1
    explained = good(await tenant.post("/v1/claims/explain", {**body, "priority": 499}))
    assert (explained["granted"], explained["reason"]) == (False, "degraded")
    granted = good(await tenant.post("/v1/claims", body), 201)
    await tenant.delete(f"/v1/leases/{granted['lease_id']}")
    for _ in range(100):
        monitor.record_operation("render", 100_000, True)
    granted = good(await tenant.post("/v1/claims", {**body, "priority": 499}), 201)
    await tenant.delete(f"/v1/leases/{granted['lease_id']}")


async def test_the_ceiling_of_browsers_outlives_a_change_of_tenants(
    api: Api, tenant: Caller
) -> None:
    (adaptive,) = api.service._adaptive
    assert (adaptive.name, adaptive.bounds.minimum, adaptive.bounds.maximum) == ("browsers", 2, 3)
    gate = api.service.gate
    gate.change_policy(lambda policy: policy.with_limit(Capacity("browsers", units=2)))
    await api.tenant()
    text = (await api.http.get("/metrics")).text
    assert 'tidegate_adaptive_limit_units{limit="browsers"} 3' in text
    assert 'tidegate_capacity_units{resource="browsers"} 3' in text
