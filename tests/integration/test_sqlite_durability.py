"""What was acknowledged survives: killed processes, full disks, locks held by others."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.sqlite_child import entry
from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.tenant_store import SqlTenantStore
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.domain.usage import StoredAnswer
from tidegate.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

EVER = {"since_us": 0, "until_us": 2**62}


@contextmanager
def child(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.integration.sqlite_child", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return (line.strip() for line in process.stdout)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tidegate.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with Database(path) as opened:
        yield opened


async def test_every_acknowledged_row_survives_a_kill_exactly_once(path: Path) -> None:
    acknowledged: list[str] = []
    for round_number in range(3):
        target = path.with_name(f"{round_number}.db")
        with child("record", target) as process:
            output = lines(process)
            acknowledged = [next(output) for _ in range(500 + 100 * round_number)]
            process.kill()
            # A row cut in half by the kill was not read by anybody.
            acknowledged += list(output)[:-1]
        async with Database(target) as database:
            ledger = SqlUsageLedger(database)
            before = await ledger.totals("acme", **EVER)
            assert before.operation_count >= len(set(acknowledged)) == len(acknowledged) >= 500
            again = await asyncio.gather(*(ledger.record(entry(name)) for name in acknowledged))
            assert not any(again)
            assert await ledger.totals("acme", **EVER) == before
            assert await ledger.taken(since_us=0) == {
                ("acme", "operations"): before.operation_count
            }


@pytest.mark.parametrize(("callers", "rounds"), [(512, 1), (64, 20)])
async def test_callers_share_commits(database: Database, callers: int, rounds: int) -> None:
    ledger = SqlUsageLedger(database)

    async def call(caller: int) -> None:
        for number in range(rounds):
            assert await ledger.record(entry(f"{caller}-{number}"))

    before = database.commits
    await asyncio.gather(*(call(caller) for caller in range(callers)))
    # One commit a round; those that it frees come back together and are not split up.
    assert database.commits - before <= rounds * 1.5
    assert (await ledger.totals("acme", **EVER)).operation_count == callers * rounds


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.mark.needs("tmpfs")
async def test_a_full_disk_is_said_and_works_again_after_space_is_made(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    async with Database(small_disk / "tidegate.db") as database:
        ledger = SqlUsageLedger(database)
        acknowledged, refusals = 0, set()
        for start in range(0, 10_000, 50):
            group = [ledger.record(entry(str(number))) for number in range(start, start + 50)]
            outcomes = await asyncio.gather(*group, return_exceptions=True)
            acknowledged += sum(outcome is True for outcome in outcomes)
            refusals = {str(outcome) for outcome in outcomes if outcome is not True}
            if refusals:
                break
        assert refusals == {"the disk under tidegate.db is full"}
        assert (await ledger.totals("acme", **EVER)).operation_count == acknowledged > 0
        ballast.unlink()
        assert await ledger.record(entry("last"))
        assert (await ledger.totals("acme", **EVER)).operation_count == acknowledged + 1


async def test_a_file_that_may_not_grow_is_said_and_works_again_later(path: Path) -> None:
    with child("limit", path) as process:
        sentence, unacknowledged = lines(process)
    assert sentence in {
        "the disk under tidegate.db is full",
        "the disk under tidegate.db failed to read or write",
    }
    # "first" and "last" were acknowledged too, and nothing else is there.
    assert unacknowledged == "2"


async def test_on_a_nearly_full_disk_one_large_answer_does_not_take_small_rows_with_it(
    database: Database,
) -> None:
    ledger = SqlUsageLedger(database)
    await ledger.record(entry("first"))

    async def leave(pages: int) -> None:
        await database.write(
            lambda connection: connection.execute(
                "PRAGMA max_page_count = "
                f"{connection.execute('PRAGMA page_count').fetchone()[0] + pages}"
            ).fetchone()
        )

    await leave(20)
    answer = StoredAnswer(
        tenant="acme",
        key="k",
        digest=b"",
        status=200,
        headers={},
        body=bytes(2**20),
        expires_us=2**60,
    )
    outcomes = await asyncio.gather(
        ledger.record(entry("small 1")),
        ledger.record(entry("large"), answer),
        ledger.record(entry("small 2")),
        return_exceptions=True,
    )
    assert outcomes[0] is outcomes[2] is True
    assert isinstance(outcomes[1], StoreUnavailable)
    assert str(outcomes[1]) == "the disk under tidegate.db is full"
    assert (await ledger.totals("acme", **EVER)).operation_count == 3
    await leave(10_000)
    assert await ledger.record(entry("large"), answer)
    assert await ledger.answer("acme", "k", now_us=0) == answer


async def test_a_short_lock_by_another_process_is_waited_for(
    path: Path, database: Database
) -> None:
    ledger = SqlUsageLedger(database)
    with child("lock", path, "1") as process:
        assert next(lines(process)) == "held"
        assert await ledger.record(entry("1"))


async def test_a_long_lock_is_said_and_reads_go_on(path: Path) -> None:
    async with Database(path, busy_timeout_us=100_000) as database:
        ledger, tenants = SqlUsageLedger(database), SqlTenantStore(database)
        await ledger.record(entry("1"))
        with child("lock", path, "0") as process:
            assert next(lines(process)) == "held"
            waiting = asyncio.create_task(ledger.record(entry("2")))
            await asyncio.sleep(0)
            assert (await ledger.totals("acme", **EVER)).operation_count == 1
            assert tenants.version() == (await tenants.load()).version
            assert not waiting.done()
            with pytest.raises(StoreUnavailable, match="locked by another process"):
                await waiting
            process.communicate()
        assert await ledger.record(entry("2"))


async def test_a_tenant_made_in_the_shell_is_seen_by_the_service(
    path: Path, database: Database
) -> None:
    store, ledger = SqlTenantStore(database), SqlUsageLedger(database)
    before = store.version()
    await asyncio.gather(*(ledger.record(entry(str(number))) for number in range(64)))
    assert store.version() == before
    with child("create", path, "shell", "2") as process:
        while process.poll() is None:
            await ledger.record(replace(entry(os.urandom(8).hex()), source="during"))
    assert process.returncode == 0
    assert store.version() == before + 2
    assert set((await store.load()).tenants) == {"shell-0", "shell-1"}


async def test_processes_that_create_the_file_together_agree(path: Path) -> None:
    commands: list[list[str | Path]] = [
        [sys.executable, "-m", "tests.integration.sqlite_child", "create", path, f"p{number}", "5"]
        for number in range(6)
    ]
    processes = [await asyncio.create_subprocess_exec(*command) for command in commands]
    assert await asyncio.gather(*(process.wait() for process in processes)) == [0] * 6
    async with Database(path) as database:
        assert len((await SqlTenantStore(database).load()).tenants) == 30
        assert len(await SqlTenantStore(database).audit(tenant_id=None, limit=99)) == 30
