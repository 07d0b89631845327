"""Hearing of other processes through PostgreSQL, and doing without it behind a pooler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.sql_admission import HOLD, PATIENT_S, amount, batch, connected
from tests.integration.test_sql_shared import child, line
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import Postgres
from tidegate.adapters.sql.shared.postgres.listening import PostgresSharedStore
from tidegate.adapters.sql.shared.postgres.store import channel

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]


@pytest.fixture
def pooled_url(own_postgres: Postgres) -> Iterator[str]:
    with PgBouncer(own_postgres) as pooler:
        yield pooler.url


async def test_a_listening_connection_that_is_lost_is_made_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setattr("tidegate.adapters.sql.shared.postgres.listening.RETRY_S", 0)
    store = PostgresSharedStore(postgres_url, timeout_s=PATIENT_S)
    heard = asyncio.Event()
    store.listen("m", heard.set)
    await store.connect()
    assert store.hears
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(query)
    async with asyncio.timeout(PATIENT_S):
        while store.hears:
            await asyncio.sleep(0.001)
        heard.clear()
        seq = 0
        while not store.hears:
            seq += 1
            await store.apply(batch(seq))
            await asyncio.sleep(0.001)
        # It may have missed something meanwhile.
        await heard.wait()
    await store.close()


async def test_a_member_under_another_name_is_still_heard(postgres_url: str) -> None:
    import psycopg

    store = PostgresSharedStore(postgres_url, timeout_s=PATIENT_S)
    heard = asyncio.Event()
    store.listen("first", heard.set)
    await store.connect()
    await store.apply(batch(1, member="second"))
    async with asyncio.timeout(PATIENT_S):
        while store._listening_to != "second" or not store.hears:
            await asyncio.sleep(0.001)
    heard.clear()
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(f'NOTIFY "{channel("second")}"')
    await asyncio.wait_for(heard.wait(), PATIENT_S)
    await store.close()


@pytest.mark.needs("pgbouncer")
def test_through_a_pooler_batches_count_as_they_should(pooled_url: str) -> None:
    with connected(pooled_url) as store:
        for seq in range(1, 20):
            store.apply(batch(seq, HOLD))
        with ExitStack() as stack:
            # More clients than the pooler has sessions.
            words = [("claim", pooled_url, f"m{number}", "10") for number in range(5)]
            processes = [stack.enter_context(child(*each)) for each in words]
            assert [line(process) for process in processes] == ["ready"] * 5
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            granted = sum(int(line(process)) for process in processes for _ in range(10))
        assert granted == 5 * 10 * 20
        assert amount(store) == 19 + granted


@pytest.mark.needs("pgbouncer")
async def test_through_a_pooler_nobody_listens_and_it_says_so(
    pooled_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = PostgresSharedStore(pooled_url, timeout_s=PATIENT_S)
    store.listen("m", lambda: None)
    with caplog.at_level(logging.WARNING):
        await store.connect()
    assert "behind a pooler" in caplog.text
    for seq in range(1, 20):
        await store.apply(batch(seq, HOLD))
    assert not store.hears
    await store.close()
