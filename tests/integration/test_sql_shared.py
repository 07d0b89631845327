"""What both SQL stores do when processes die, crowd and wait: nothing is lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.integration.sql_admission import (
    HOLD,
    PATIENT_S,
    ROOM,
    amount,
    batch,
    connected,
    persist,
    sqlite_url,
    store_at,
)
from tidegate.adapters.sql.shared.postgres.listening import PostgresSharedStore
from tidegate.adapters.sql.shared.sqlite.watched import SqliteSharedStore
from tidegate.domain.batch import Admit, Check, Done, GiveBack, Wait, Yes
from tidegate.errors import InvalidSetting, StoreUnavailable

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = pytest.mark.anyio

URLS = ["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))]
SCRIPT = "tests.integration.sql_admission"


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
    else:
        yield request.getfixturevalue("postgres_url")


def shared_at(url: str) -> PostgresSharedStore | SqliteSharedStore:
    if url.startswith("sqlite:///"):
        return SqliteSharedStore(url.removeprefix("sqlite:///"), timeout_s=PATIENT_S)
    return PostgresSharedStore(url, timeout_s=PATIENT_S)


@contextmanager
def child(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", SCRIPT, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_with_hot_rows_lose_nothing_and_count_nothing_twice(url: str) -> None:
    with connected(url) as store, ExitStack() as stack:
        children = [stack.enter_context(child("claim", url, f"m{n}", "40")) for n in range(4)]
        assert [line(each) for each in children] == ["ready"] * 4
        granted = 0
        for each in children:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        for each in children:
            granted += sum(int(line(each)) for _ in range(40))
        assert granted == 4 * 40 * 20
        assert amount(store) == granted
        cells = tuple(f"cell-{number}" for number in range(50))
        assert sum(amount(store, cell) for cell in cells) == granted


def test_a_member_that_is_killed_at_work_leaves_what_it_was_told(url: str) -> None:
    with connected(url) as store:
        with child("claim", url, "killed", "100000") as process:
            assert line(process) == "ready"
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            told = sum(int(line(process)) for _ in range(20))
            process.kill()
            # Not by `communicate`, which passes over what was read ahead of the lines above.
            told += sum(int(rest) for rest in process.stdout.read().split("\n") if rest)
        # Of the batch under way nobody was told whether it was applied, but all of it or nothing.
        assert amount(store) - told in (0, 20)


def test_a_client_that_is_killed_in_its_transaction_holds_up_nobody(url: str) -> None:
    with connected(url) as store:
        persist(store, batch(1, HOLD))
        with child("stuck", url, "60") as process:
            assert line(process) == "held"
            process.kill()
            process.wait()
            assert isinstance(persist(store, batch(2, HOLD)).answers[0], Yes)
        assert amount(store) == 2


def test_threads_share_one_store(url: str) -> None:
    with connected(url) as store:

        def work(number: int) -> None:
            for seq in range(1, 21):
                store.apply(batch(seq, HOLD, HOLD, member=f"m{number}"))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert amount(store) == 6 * 20 * 2


def test_a_store_is_used_only_while_it_is_connected(url: str) -> None:
    store = store_at(url)
    with pytest.raises(StoreUnavailable, match="not connected"):
        store.apply(batch(1))
    store.close()
    for _ in range(2):
        store.connect()
        store.connect()
        store.apply(batch(1, HOLD))
        store.close()
        store.close()
        with pytest.raises(StoreUnavailable, match="not connected"):
            store.apply(batch(1))
    with connected(url) as other:
        assert amount(other) == 1


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 1e9, float("nan")])
def test_a_timeout_is_a_time(url: str, timeout_s: float) -> None:
    with pytest.raises(InvalidSetting, match="timeout_s"):
        store_at(url, timeout_s)


def test_a_forked_child_makes_a_connection_of_its_own(url: str) -> None:
    def in_child(told: Callable[[str], None]) -> None:
        with pytest.raises(StoreUnavailable, match="forked"):
            own.apply(batch(2, HOLD))
        own.close()
        own.connect()
        own.apply(batch(1, HOLD, member="child"))
        own.close()
        told("done")

    with connected(url) as own:
        own.apply(batch(1, HOLD))
        assert forked(in_child) == "done"
        own.apply(batch(2, HOLD))
        assert amount(own) == 3


def forked(run: Callable[[Callable[[str], None]], None]) -> str:
    """Run something in a forked child; return what it told."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            run(lambda text: _ignore(os.write(writing, text.encode())))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return told


def _ignore(_: object) -> None:
    """Nobody needs to know."""


async def test_tasks_have_it_too(url: str) -> None:
    store = shared_at(url)
    with pytest.raises(StoreUnavailable, match="not connected"):
        await store.apply(batch(1))
    await store.close()
    for seq in (1, 2):
        await store.connect()
        sent = [batch(seq, HOLD, member=f"m{number}") for number in range(20)]
        replies = await asyncio.gather(*map(store.apply, sent))
        assert all(isinstance(reply.answers[0], Yes) for reply in replies)
        await store.close()
        await store.close()
    with connected(url) as other:
        assert await asyncio.to_thread(amount, other) == 40


async def test_a_cancelled_call_is_over_and_the_next_one_works(url: str) -> None:
    store = shared_at(url)
    await store.connect()
    for seq in range(1, 20):
        call = asyncio.ensure_future(store.apply(batch(seq, HOLD)))
        await asyncio.sleep(0.0005 * seq)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await store.apply(batch(seq, HOLD))
    with connected(url) as other:
        assert await asyncio.to_thread(amount, other) == 19
    await store.close()


async def test_who_waits_hears_of_other_processes(url: str) -> None:
    full = msgspec.structs.replace(ROOM, ceiling=1)
    take = Admit((0, 0, 1), "x", ticket="mine-1")
    wait, back = Wait(0, 0, 1, "mine-1", "x", 1, 500), GiveBack((0, 1))
    woken = asyncio.Event()
    mine = shared_at(url)
    mine.listen("mine", woken.set)
    await mine.connect()
    with connected(url) as other:
        for seq in (1, 2, 3):
            held = batch(2 * seq, HOLD, member="other", rules=(full,))
            assert isinstance((await asyncio.to_thread(other.apply, held)).answers[0], Yes)
            waiting = batch(2 * seq, wait, Check(0, "mine-1"), member="mine", rules=(full,))
            assert (await mine.apply(waiting)).answers == (Done(), Done(False))
            # Whatever it heard until now, it was not this.
            await asyncio.sleep(0.1)
            woken.clear()
            freed = batch(2 * seq + 1, back, member="other", rules=(full,))
            assert (await asyncio.to_thread(other.apply, freed)).woken == ("mine",)
            await asyncio.wait_for(woken.wait(), PATIENT_S)
            taken = batch(2 * seq + 1, take, back, member="mine", rules=(full,))
            assert isinstance((await mine.apply(taken)).answers[0], Yes)
    await mine.close()
