"""The store in PostgreSQL when the server, the way to it or its settings are bad, and in a race."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.integration.sql_admission import (
    HOLD,
    PATIENT_S,
    amount,
    batch,
    connected,
    persist,
    store_at,
)
from tests.integration.test_sql_shared import child, line
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tidegate.adapters.sql.shared.postgres import schema
from tidegate.adapters.sql.shared.postgres.listening import PostgresSharedStore
from tidegate.adapters.sql.shared.postgres.store import PostgresBlockingStore, channel
from tidegate.domain.batch import Admit, Again, Answer, Part, Yes
from tidegate.domain.limit import Capacity
from tidegate.domain.rule import cohort_rule, rule_of
from tidegate.errors import InvalidSetting, StoreUnavailable

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

SOON_S = 0.5


@pytest.fixture
def proxy(own_postgres: Postgres) -> Iterator[Proxy]:
    with Proxy(own_postgres.port) as proxy:
        yield proxy


def through(proxy: Proxy, server: Postgres) -> str:
    return server.url.replace(f":{server.port}/", f":{proxy.port}/")


@pytest.mark.needs("postgres_own")
def test_wherever_the_connection_is_cut_a_batch_counts_once(
    proxy: Proxy, own_postgres: Postgres
) -> None:
    with connected(through(proxy, own_postgres)) as store:
        store.apply(batch(1, HOLD))
        lost = 0
        for seq in range(2, 80):
            proxy.cut_after((seq * 17) % 1200)
            before = proxy.accepted
            reply = persist(store, batch(seq, HOLD, HOLD))
            lost += proxy.accepted > before
            assert [type(answer) for answer in reply.answers] == [Yes, Yes]
        # What is lost only sometimes is no test: it was at least the commit and the load.
        assert lost >= 20
        assert amount(store) == 1 + 2 * 78


@pytest.mark.needs("postgres_own")
def test_a_frozen_server_costs_no_more_than_the_timeout(own_postgres: Postgres) -> None:
    with connected(own_postgres.url, SOON_S) as store:
        store.apply(batch(1, HOLD))
        own_postgres.freeze()
        try:
            for call in (lambda: store.apply(batch(2, HOLD)), store.connect):
                start_s = time.monotonic()
                with pytest.raises(StoreUnavailable, match="no answer in time"):
                    call()
                assert time.monotonic() - start_s < SOON_S + PATIENT_S / 10
        finally:
            own_postgres.thaw()
        persist(store, batch(2, HOLD))
        assert amount(store) == 2


@pytest.mark.needs("postgres_own")
async def test_tasks_do_not_wait_for_a_frozen_server_either(own_postgres: Postgres) -> None:
    store = PostgresSharedStore(own_postgres.url, timeout_s=SOON_S)
    store.listen("m", lambda: None)
    await store.connect()
    await store.apply(batch(1, HOLD))
    own_postgres.freeze()
    try:
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await store.apply(batch(2, HOLD))
        await store.close()
    finally:
        own_postgres.thaw()


@pytest.mark.needs("postgres_own")
def test_a_server_that_is_killed_comes_back_with_every_grant(own_postgres: Postgres) -> None:
    granted = [0, 0, 0]
    stop = threading.Event()

    def work(number: int) -> None:
        with connected(own_postgres.url) as store:
            seq = 0
            while not stop.is_set():
                seq += 1
                reply = persist(store, batch(seq, HOLD, HOLD, member=f"m{number}"))
                granted[number] += sum(isinstance(answer, Yes) for answer in reply.answers)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        enough = sum(granted) + 30
        own_postgres.wait_until(lambda: sum(granted) > enough, "work goes on")  # noqa: B023
        own_postgres.kill()
        own_postgres.restart()
    stop.set()
    for thread in threads:
        thread.join()
    with connected(own_postgres.url) as store:
        assert amount(store) == sum(granted)


def test_a_client_that_freezes_holds_up_others_only_for_so_long(postgres_url: str) -> None:
    with connected(postgres_url) as store, child("stuck", postgres_url, "0.5") as process:
        assert line(process) == "held"
        os.kill(process.pid, signal.SIGSTOP)
        assert isinstance(store.apply(batch(1, HOLD)).answers[0], Yes)
        assert amount(store) == 1


def test_nobody_waits_in_a_circle_and_nobody_tries_again(postgres_url: str) -> None:
    with ExitStack() as stack:
        children = [
            stack.enter_context(child("claim", postgres_url, f"m{n}", "30")) for n in range(4)
        ]
        assert [line(each) for each in children] == ["ready"] * 4
        with connected(postgres_url) as store:
            # Everybody's rows are there: from now on nothing is a reason for another attempt.
            cells = tuple(f"cell-{number}" for number in range(50))
            store.apply(batch(1, member="first", cells=(*cells, "room")))
        before = trouble(postgres_url)
        for each in children:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        assert [line(each) for each in children for _ in range(30)] == ["20"] * 120
        for each in children:
            each.wait(PATIENT_S)
    assert trouble(postgres_url) == before


def trouble(url: str) -> tuple[int, int]:
    """Return deadlocks and rollbacks so far, once every backend has had time to tell."""
    import psycopg

    # Backends tell their statistics at most once a second.
    time.sleep(1.5)
    query = """SELECT deadlocks, xact_rollback FROM pg_stat_database
        WHERE datname = current_database()"""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(query).fetchone()
    assert found is not None
    return found[0], found[1]


def in_threads(url: str, works: list[Callable[[PostgresBlockingStore], Answer]]) -> list[Answer]:
    """Run each at a store of its own, all at the same moment; return what each returned."""
    answers: list[Answer | None] = [None] * len(works)
    ready = threading.Barrier(len(works))

    def work(number: int) -> None:
        with connected(url) as store:
            assert isinstance(store, PostgresBlockingStore)
            ready.wait(PATIENT_S)
            answers[number] = works[number](store)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for answer in answers if answer is not None]


def test_a_new_claim_id_is_granted_to_one_of_those_who_race_for_it(postgres_url: str) -> None:
    def ask(number: int, name: str) -> Callable[[PostgresBlockingStore], Answer]:
        admit = Admit((), "x", claim_id=name, digest="d", lease_us=10**7)
        sent = batch(1, admit, member=f"{name}-{number}")
        return lambda store: store.apply(sent).answers[0]

    for number in range(8):
        answers = in_threads(postgres_url, [ask(racer, f"id-{number}") for racer in range(4)])
        assert sorted(type(answer).__name__ for answer in answers) == ["Again"] * 3 + ["Yes"]
        tokens = {answer.token for answer in answers if isinstance(answer, Yes | Again)}
        assert len(tokens) == 1


def test_tenants_that_race_for_the_first_time_borrow_no_more_than_is_lent(
    postgres_url: str,
) -> None:
    limit = Capacity("gpus", units=2, per=("tenant",), lend=1, borrow=2)
    rules = (rule_of(limit, 0), cohort_rule(1))

    def borrow(name: str, tenant: int) -> Callable[[PostgresBlockingStore], Answer]:
        """Take three: two of its own, of which it lends one, and one that others lend."""
        cells = tuple(f"{name}:{other}" for other in range(3))
        others = tuple(n for other in range(3) if other != tenant for n in (other, 1))
        parts = (Part(tenant, 0, 2), Part(tenant, 1, 0, 0, others))
        sent = batch(1, Admit(parts, f"{tenant}"), member=f"{name}-{tenant}")
        sent = msgspec.structs.replace(sent, rules=rules, cells=cells)
        return lambda store: store.apply(sent).answers[0]

    for number in range(8):
        answers = in_threads(postgres_url, [borrow(f"c{number}", tenant) for tenant in range(3)])
        # Each keeps one and uses one of what all lend, which is one.
        assert sorted(type(answer).__name__ for answer in answers) == ["No", "No", "Yes"]


def test_whoever_comes_first_makes_the_tables(postgres_url: str) -> None:
    def hold(number: int) -> Callable[[PostgresBlockingStore], Answer]:
        return lambda store: store.apply(batch(1, HOLD, member=f"m{number}")).answers[0]

    answers = in_threads(postgres_url, [hold(number) for number in range(6)])
    assert all(isinstance(answer, Yes) for answer in answers)
    with connected(postgres_url) as store:
        assert amount(store) == 6


def replaced(url: str, **parts: str) -> str:
    split = urlsplit(url)
    user, password = parts.get("user", split.username), parts.get("password", split.password)
    host = f"{split.hostname}:{parts.get('port', split.port)}"
    path, query = parts.get("path", split.path), parts.get("query", "")
    return f"postgresql://{user}:{password}@{host}{path}{query}"


@pytest.mark.parametrize(
    ("parts", "error", "said"),
    [
        ({"password": "wrong-secret"}, InvalidSetting, "password"),
        ({"user": "nobody-here"}, InvalidSetting, "password"),
        ({"path": "/nowhere"}, InvalidSetting, "a database that exists"),
        ({"port": "1"}, StoreUnavailable, "refused"),
        (
            {"query": "?options=-cdefault_transaction_read_only%3Don"},
            StoreUnavailable,
            "takes no writes",
        ),
        ({"query": "?options=-csearch_path%3Dnowhere"}, InvalidSetting, "search_path"),
        ({"query": "?sslmode=require"}, InvalidSetting, "sslmode"),
    ],
)
@pytest.mark.needs("postgres_own")
def test_what_is_wrong_is_said_without_the_password(
    postgres_url: str, parts: dict[str, str], error: type[Exception], said: str
) -> None:
    store = store_at(replaced(postgres_url, **parts))
    with pytest.raises(error, match=said) as caught:
        store.connect()
    assert "secret" not in str(caught.value)
    store.close()


@pytest.mark.parametrize("url", ["postgresql://u:se cret@h/db", "postgresql://h:port-secret/db"])
def test_an_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        PostgresBlockingStore(url).connect()
    assert "cret" not in str(caught.value)


def test_a_user_without_rights_is_refused(postgres_url: str) -> None:
    import psycopg

    user = f"guest_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE USER {user} PASSWORD 'guest'")
        try:
            guest = replaced(postgres_url, user=user, password="guest")
            connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            with pytest.raises(InvalidSetting, match="create and change its tables"):
                store_at(guest).connect()
            with connected(postgres_url):
                pass
            with pytest.raises(InvalidSetting, match="create and change its tables"):
                store_at(guest).connect()
            for table in ("store", "cells", "members", "stakes", "ids"):
                connection.execute(
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON tidegate_{table} TO {user}"
                )
            with connected(guest) as store:
                store.apply(batch(1, HOLD))
        finally:
            connection.execute(f"DROP OWNED BY {user}")
            connection.execute(f"DROP USER {user}")


def test_an_old_server_and_other_tables_are_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "SERVER_VERSION_MIN", 990_000)
        with pytest.raises(InvalidSetting, match="PostgreSQL 99 or newer"):
            store_at(postgres_url).connect()
    with connected(postgres_url):
        pass
    monkeypatch.setattr(schema, "VERSION", 2)
    with pytest.raises(InvalidSetting, match="tables of version 2; these, of version 1"):
        store_at(postgres_url).connect()


def test_tables_that_were_dropped_are_made_again(postgres_url: str) -> None:
    import psycopg

    with connected(postgres_url) as store:
        store.apply(batch(1, HOLD))
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            for table in ("store", "cells", "members", "stakes", "ids"):
                connection.execute(f"DROP TABLE tidegate_{table}")
        with pytest.raises(StoreUnavailable, match="dropped"):
            store.apply(batch(2, HOLD))
        persist(store, batch(2, HOLD))
        assert amount(store) == 1


def test_the_first_host_that_takes_writes_is_used(postgres_url: str) -> None:
    split = urlsplit(postgres_url)
    hosts = f"127.0.0.1:1,{split.hostname}:{split.port}"
    url = f"postgresql://{split.username}:{split.password}@{hosts}{split.path}"
    with connected(url) as store:
        store.apply(batch(1, HOLD))


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
