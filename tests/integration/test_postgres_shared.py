"""The store in PostgreSQL when the server, the way to it or its settings are bad, and in a race."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import msgspec
import pytest

from tests.integration.sql_admission import (
    HOLD,
    PATIENT_S,
    amount,
    batch,
    connected,
    persist,
)
from tests.integration.test_sql_shared import child, line
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tidegate.adapters.sql.shared.loaded import Changes, Loaded
from tidegate.adapters.sql.shared.postgres.listening import PostgresSharedStore
from tidegate.adapters.sql.shared.postgres.store import PostgresBlockingStore
from tidegate.domain.batch import Admit, Again, Answer, Yes
from tidegate.domain.limit import Capacity
from tidegate.domain.rule import cohort_rule, rule_of
from tidegate.errors import StoreUnavailable

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


@pytest.mark.needs("postgres_own")
def test_a_server_that_is_gone_is_noticed_by_a_batch_of_any_size(own_postgres: Postgres) -> None:
    for size in (0, 50_000):
        with connected(own_postgres.url) as store:
            store.apply(batch(1))
            own_postgres.kill()
            cells = tuple(f"cell-{number}" for number in range(size))
            with pytest.raises(StoreUnavailable):
                store.apply(batch(2, cells=cells))
            with pytest.raises(StoreUnavailable):
                store.connect()
            own_postgres.restart()


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
        rows, cohorts = (tenant, 0, 2, tenant, 1, 0), ((1, 0, others),)
        admit = Admit(rows, f"{tenant}", cohorts=cohorts)
        sent = batch(1, admit, member=f"{name}-{tenant}")
        sent = msgspec.structs.replace(sent, rules=rules, cells=cells)
        return lambda store: store.apply(sent).answers[0]

    for number in range(8):
        answers = in_threads(postgres_url, [borrow(f"c{number}", tenant) for tenant in range(3)])
        # Each keeps one and uses one of what all lend, which is one.
        assert sorted(type(answer).__name__ for answer in answers) == ["No", "No", "Yes"]


def test_rows_that_vanish_between_reading_and_writing_cost_another_attempt(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    whole = Loaded.changes
    attempts = []

    def changes(loaded: Loaded) -> Changes:
        attempts.append(loaded)
        if len(attempts) in (2, 3):
            # As a sweep does that saw them as worth nothing.
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute("DELETE FROM tidegate_cells")
                connection.execute("DELETE FROM tidegate_ids")
        return whole(loaded)

    monkeypatch.setattr(Loaded, "changes", changes)
    admit = Admit((0, 0, 1), "x", claim_id="a", digest="d", lease_us=10**7)
    with connected(postgres_url) as store:
        assert isinstance(store.apply(batch(1, admit)).answers[0], Yes)
        assert isinstance(store.apply(batch(2, admit, HOLD)).answers[0], Yes)
        assert len(attempts) == 3
        assert amount(store) == 2


def test_whoever_comes_first_makes_the_tables(postgres_url: str) -> None:
    def hold(number: int) -> Callable[[PostgresBlockingStore], Answer]:
        return lambda store: store.apply(batch(1, HOLD, member=f"m{number}")).answers[0]

    answers = in_threads(postgres_url, [hold(number) for number in range(6)])
    assert all(isinstance(answer, Yes) for answer in answers)
    with connected(postgres_url) as store:
        assert amount(store) == 6
