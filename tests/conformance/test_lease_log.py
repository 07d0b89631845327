"""What every lease log promises."""

from __future__ import annotations

import msgspec
import pytest

from tests.conformance.stores import Stores
from tidegate.domain.claim import Claim
from tidegate.domain.lease import LeaseRecord
from tidegate.ports.lease_log import LeaseLog

pytestmark = pytest.mark.anyio

RECORD = LeaseRecord(
    id="l-1",
    claim=Claim(
        tenant="acme",
        take={"operations": 2**53},
        hold={"browsers": 1, "memory": 256 * 2**20},
        host="example.com",
        attributes={"model": "\N{SNOWMAN}"},
        id="claim-1",
    ),
    fencing_token=2**62,
    expires_us=1_795_000_000_000_000,
    holder="worker-7",
)


@pytest.fixture
def log(stores: Stores) -> LeaseLog:
    return stores.leases


async def load(log: LeaseLog) -> dict[str, LeaseRecord]:
    records = await log.load()
    by_id = {record.id: record for record in records}
    assert len(by_id) == len(records)
    return by_id


async def test_what_is_put_is_loaded_with_its_last_expiry(log: LeaseLog) -> None:
    assert await load(log) == {}
    await log.put(RECORD)
    assert await load(log) == {"l-1": RECORD}
    renewed = msgspec.structs.replace(RECORD, expires_us=RECORD.expires_us + 1)
    other = msgspec.structs.replace(RECORD, id="l-2", expires_us=0)
    await log.put(renewed)
    await log.put(other)
    assert await load(log) == {"l-1": renewed, "l-2": other}


async def test_forgetting_ignores_what_is_not_there(log: LeaseLog) -> None:
    records = [msgspec.structs.replace(RECORD, id=f"l-{number}") for number in range(1200)]
    for record in records[:3]:
        await log.put(record)
    await log.forget([])
    await log.forget(["' OR 1=1 --", *(record.id for record in records[1:])])
    assert await load(log) == {"l-0": records[0]}
    await log.forget(["l-0", "l-0"])
    assert await load(log) == {}
