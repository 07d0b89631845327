"""What every usage ledger promises; a plain dict is the oracle."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.stores import Open, Stores
from tidegate.domain.usage import StoredAnswer, UsageEntry, UsageTotals
from tidegate.errors import InvalidRequest
from tidegate.ports.usage_ledger import UsageLedger

pytestmark = pytest.mark.anyio

HOUR_US = 3_600_000_000
NOW_US = 498_611 * HOUR_US + 5
BODY_MAX_BYTES = 32 * 2**20

ENTRY = UsageEntry(
    tenant="acme",
    source="http",
    id="1",
    at_us=NOW_US,
    outcome="success",
    operations=2,
    data_bytes=30,
    compute_us=400,
    taken={"operations": 2, 'a "b"': 1},
)
ANSWER = StoredAnswer(
    tenant="acme",
    key="retry' --",
    digest=b"\x00digest",
    status=201,
    headers={"content-type": "text/plain", "x": "\N{SNOWMAN}"},
    body=b"\x00\xffbody",
    expires_us=NOW_US + 10,
)


@pytest.fixture
def ledger(stores: Stores) -> UsageLedger:
    return stores.usage


async def test_a_row_counts_once_whatever_a_replay_says(ledger: UsageLedger) -> None:
    assert await ledger.record(ENTRY)
    replay = replace(ENTRY, operations=99, taken={"operations": 99})
    assert not await ledger.record(replay, replace(ANSWER, key="replay"))
    assert await ledger.answer("acme", "replay", now_us=NOW_US) is None
    totals = await ledger.totals("acme", since_us=NOW_US, until_us=NOW_US + 1)
    assert totals == UsageTotals(operation_count=2, data_bytes=30, compute_us=400)
    assert await ledger.record(replace(ENTRY, tenant="another"))
    assert await ledger.record(replace(ENTRY, source="another"))
    assert await ledger.record(replace(ENTRY, id="another"))


async def test_of_many_at_once_one_is_new(ledger: UsageLedger) -> None:
    assert sum(await asyncio.gather(*(ledger.record(ENTRY) for _ in range(20)))) == 1
    assert await ledger.taken(since_us=0) == {("acme", "operations"): 2, ("acme", 'a "b"'): 1}


async def test_failed_work_counts_only_as_failed_but_what_it_took_stays_taken(
    ledger: UsageLedger,
) -> None:
    await ledger.record(replace(ENTRY, outcome="failed"))
    # Once by row and once by whole hour.
    for margin_us in (1, HOUR_US):
        totals = await ledger.totals(
            "acme", since_us=NOW_US - margin_us, until_us=NOW_US + margin_us
        )
        assert totals == UsageTotals(failed_count=1)
    assert (await ledger.taken(since_us=NOW_US))["acme", "operations"] == 2


async def test_tenants_do_not_see_each_other(ledger: UsageLedger) -> None:
    await ledger.record(ENTRY, ANSWER)
    for stranger in ("acm", "acme2", "' OR 1=1 --", ""):
        assert await ledger.totals(stranger, since_us=0, until_us=2**62) == UsageTotals()
        assert await ledger.answer(stranger, ANSWER.key, now_us=NOW_US) is None


async def test_an_answer_is_kept_as_it_was_until_it_expires(ledger: UsageLedger) -> None:
    await ledger.record(ENTRY, ANSWER)
    assert await ledger.answer("acme", ANSWER.key, now_us=NOW_US) == ANSWER
    assert await ledger.answer("acme", ANSWER.key, now_us=ANSWER.expires_us - 1) == ANSWER
    assert await ledger.answer("acme", ANSWER.key, now_us=ANSWER.expires_us) is None
    assert await ledger.answer("acme", "other", now_us=NOW_US) is None


async def test_a_live_answer_is_never_replaced_an_expired_one_is(ledger: UsageLedger) -> None:
    await ledger.record(ENTRY, ANSWER)
    second = replace(ANSWER, digest=b"2", status=200, headers={}, body=b"", expires_us=2**60)
    assert await ledger.record(replace(ENTRY, id="2"), second)
    assert await ledger.answer("acme", ANSWER.key, now_us=NOW_US) == ANSWER
    assert await ledger.record(replace(ENTRY, id="3", at_us=ANSWER.expires_us), second)
    assert await ledger.answer("acme", ANSWER.key, now_us=NOW_US) == second


async def test_sweep_takes_the_expired_answers_and_only_those(ledger: UsageLedger) -> None:
    for number in range(150):
        expires_us = NOW_US + number
        await ledger.record(
            replace(ENTRY, id=str(number)), replace(ANSWER, key=str(number), expires_us=expires_us)
        )
    assert await ledger.sweep(now_us=NOW_US + 139) == 140
    assert await ledger.sweep(now_us=NOW_US + 139) == 0
    assert await ledger.answer("acme", "139", now_us=0) is None
    assert await ledger.answer("acme", "140", now_us=0) is not None
    assert (await ledger.totals("acme", since_us=0, until_us=2**62)).operation_count == 300


async def test_the_largest_answer_fits_and_a_larger_one_is_refused_whole(
    ledger: UsageLedger,
) -> None:
    body = bytes(BODY_MAX_BYTES)
    with pytest.raises(InvalidRequest, match=r"answer\.body"):
        await ledger.record(ENTRY, replace(ANSWER, body=body + b"x"))
    assert await ledger.record(ENTRY, replace(ANSWER, body=body))
    stored = await ledger.answer("acme", ANSWER.key, now_us=NOW_US)
    assert stored is not None
    assert stored.body == body


async def test_a_clock_that_steps_back_loses_nothing(ledger: UsageLedger) -> None:
    for number, at_us in enumerate((NOW_US, NOW_US - 3 * HOUR_US, NOW_US - 1, NOW_US)):
        await ledger.record(replace(ENTRY, id=str(number), at_us=at_us))
    assert (await ledger.totals("acme", since_us=0, until_us=2**62)).operation_count == 8
    assert (await ledger.totals("acme", since_us=NOW_US, until_us=2**62)).operation_count == 4


INSTANTS = st.integers(-2 * HOUR_US, 4 * HOUR_US) | st.sampled_from(
    [edge * HOUR_US + step for edge in range(4) for step in (-1, 0, 1)]
)
ENTRIES = st.builds(
    UsageEntry,
    tenant=st.sampled_from(["a", "b"]),
    source=st.sampled_from(["x", "y"]),
    id=st.sampled_from("0123456"),
    at_us=INSTANTS,
    outcome=st.sampled_from(["success", "failed"]),
    operations=st.integers(0, 5),
    data_bytes=st.integers(0, 2**40),
    compute_us=st.integers(0, 2**40),
    taken=st.dictionaries(st.sampled_from(["operations", "\N{SNOWMAN}"]), st.integers(0, 2**40)),
)


def expected_totals(
    rows: dict[tuple[str, str, str], UsageEntry], tenant: str, since_us: int, until_us: int
) -> UsageTotals:
    inside = [
        row for row in rows.values() if row.tenant == tenant and since_us <= row.at_us < until_us
    ]
    good = [row for row in inside if row.outcome == "success"]
    return UsageTotals(
        operation_count=sum(row.operations for row in good),
        failed_count=len(inside) - len(good),
        data_bytes=sum(row.data_bytes for row in good),
        compute_us=sum(row.compute_us for row in good),
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    entries=st.lists(ENTRIES, max_size=12),
    questions=st.lists(st.tuples(INSTANTS, INSTANTS), min_size=1, max_size=5),
)
def test_every_sum_agrees_with_a_plain_dict(
    open_stores: Open, entries: list[UsageEntry], questions: list[tuple[int, int]]
) -> None:
    async def play(folder: Path) -> None:
        rows: dict[tuple[str, str, str], UsageEntry] = {}
        async with open_stores(folder) as stores:
            for entry in entries:
                key = (entry.tenant, entry.source, entry.id)
                assert await stores.usage.record(entry) == (key not in rows)
                rows.setdefault(key, entry)
            for since_us, until_us in questions:
                for tenant in ("a", "b", "c"):
                    assert await stores.usage.totals(
                        tenant, since_us=since_us, until_us=until_us
                    ) == expected_totals(rows, tenant, since_us, until_us)
                taken: Counter[tuple[str, str]] = Counter()
                for row in rows.values():
                    if row.at_us >= since_us:
                        taken.update({(row.tenant, name): n for name, n in row.taken.items()})
                assert await stores.usage.taken(since_us=since_us) == dict(taken)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))
