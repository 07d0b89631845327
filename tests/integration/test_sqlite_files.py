"""The file itself: who may read it, which files are refused, what damage does."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tidegate.adapters.sql import schema
from tidegate.adapters.sql.connection import connect_writer
from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.failures import translate
from tidegate.adapters.sql.lease_log import SqlLeaseLog
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.domain.usage import StoredAnswer, UsageEntry
from tidegate.errors import StoreUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tidegate.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with Database(path) as opened:
        yield opened


def insert(identifier: str) -> Callable[[sqlite3.Connection], int]:
    statement = "INSERT INTO leases VALUES (?, 'acme', 0, x'')"
    return lambda connection: connection.execute(statement, (identifier,)).rowcount


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM leases").fetchone()[0])


@pytest.mark.parametrize("mode", [None, 0o644], ids=["new", "too open"])
async def test_nobody_else_may_read_the_file_or_its_log(path: Path, mode: int | None) -> None:
    if mode is not None:
        os.close(os.open(path, os.O_CREAT, mode))
    async with Database(path) as database:
        await database.write(insert("1"))
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys((path.name, f"{path.name}-wal", f"{path.name}-shm"), 0o600)


def newer(path: Path) -> None:
    connect_writer(path, 0).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (id)")
    connection.close()


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (newer, "has schema version 999, this program knows 2: use the newer tidegate"),
        (foreign, "is a database of another program"),
        (garbage, "is damaged or no SQLite database: move the file away"),
        (Path.mkdir, "cannot be opened: check its folder and permissions"),
        (lambda path: path.parent.rmdir(), "No such file or directory"),
    ],
)
async def test_a_file_that_cannot_be_used_is_refused_with_a_sentence(
    tmp_path: Path, prepare: Callable[[Path], None], sentence: str
) -> None:
    threads = threading.enumerate()
    path = tmp_path / "data" / "tidegate.db"
    path.parent.mkdir()
    prepare(path)
    with pytest.raises(StoreUnavailable, match=sentence) as raised:
        await Database(path).open()
    assert str(path) in str(raised.value)
    assert threading.enumerate() == threads


async def test_a_step_that_fails_half_way_is_undone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*schema.MIGRATIONS, ("CREATE TABLE half (a)", "CREATE NONSENSE"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises(StoreUnavailable, match="syntax error"):
            await Database(path).open()
    async with Database(path) as database:
        assert await database.read(count) == 0
        assert not await database.read(
            lambda connection: connection.execute(
                "SELECT 1 FROM sqlite_schema WHERE name = 'half'"
            ).fetchone()
        )


def kept_bytes(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT tenant, bytes FROM answer_bytes").fetchall())


async def test_a_tenant_keeps_answers_up_to_a_bound_and_is_answered_beyond_it(
    database: Database,
) -> None:
    row_bytes = schema.ANSWER_ROW_BYTES + len("{}")
    ledger = SqlUsageLedger(database, answers_max_bytes=2 * row_bytes + 10)

    async def keep(tenant: str, key: str, size_bytes: int, at_us: int) -> bool:
        entry = UsageEntry(tenant=tenant, source="http", id=f"{key}{at_us}", at_us=at_us,
                           outcome="success", operations=1)  # fmt: skip
        answer = StoredAnswer(tenant=tenant, key=key, digest=b"", status=200, headers={},
                              body=bytes(size_bytes), expires_us=at_us + 10)  # fmt: skip
        assert await ledger.record(entry, answer)
        return await ledger.answer(tenant, key, now_us=at_us) is not None

    assert await keep("acme", "a", 4, 0)
    assert not await keep("acme", "b", row_bytes + 7, 1)
    assert await keep("acme", "c", 6, 2)
    assert not await keep("acme", "d", 0, 3)
    assert await keep("other", "d", 10, 3), "each tenant has its own bound"
    assert (await ledger.totals("acme", since_us=0, until_us=9)).operation_count == 4
    assert await ledger.sweep(now_us=11) == 1
    assert await keep("acme", "d", 4, 12)
    assert await ledger.sweep(now_us=12) == 1
    assert await keep("acme", "e", 0, 13)
    kept = {"acme": 2 * row_bytes + 4, "other": row_bytes + 10}
    # The other tenant's answer expires at 13, and is still there.
    assert await database.read(kept_bytes) == kept
    assert await ledger.sweep(now_us=99) == 3
    assert await database.read(kept_bytes) == {}


async def test_answers_of_an_older_file_are_counted_and_replaced_ones_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = "INSERT INTO answers VALUES ('acme', 'k', x'', 200, x'7b7d', 5, zeroblob(100))"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        async with Database(path) as database:
            await database.write(lambda connection: connection.execute(add).rowcount)
    answer = StoredAnswer(tenant="acme", key="k", digest=b"", status=200, headers={}, body=b"new",
                          expires_us=20)  # fmt: skip
    entry = UsageEntry(tenant="acme", source="http", id="1", at_us=9, outcome="success")
    async with Database(path) as database:
        assert await database.read(kept_bytes) == {"acme": schema.ANSWER_ROW_BYTES + 102}
        assert await SqlUsageLedger(database).record(entry, answer)
        assert await database.read(kept_bytes) == {"acme": schema.ANSWER_ROW_BYTES + 5}


def spoil_second_half(path: Path) -> None:
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + b"\xff" * (len(content) - half))


async def test_damage_inside_the_file_is_said_and_the_process_goes_on(path: Path) -> None:
    async with Database(path) as database:
        await asyncio.gather(*(database.write(insert(f"{number:0300}")) for number in range(999)))
    spoil_second_half(path)
    async with Database(path) as database:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="is damaged"):
                await SqlLeaseLog(database).load()


async def test_a_damaged_lease_record_is_named(database: Database) -> None:
    await database.write(insert("l-7"))
    with pytest.raises(StoreUnavailable, match="'l-7' is damaged"):
        await SqlLeaseLog(database).load()


async def test_a_file_that_was_replaced_is_not_written_into_the_void(path: Path) -> None:
    async with Database(path) as database:
        await database.write(insert("1"))
        away = path.with_name("backup.db")
        shutil.move(path, away)
        for replaced in (False, True):
            if replaced:
                os.close(os.open(path, os.O_CREAT))
            with pytest.raises(StoreUnavailable, match="was deleted or replaced while open"):
                await asyncio.gather(*(database.write(insert(name)) for name in "ab"))
        shutil.move(away, path)
        await database.write(insert("2"))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (sqlite3.SQLITE_FULL, "the disk under x.db is full"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "x.db was locked by another process for too long"),
        (sqlite3.SQLITE_IOERR_FSYNC, "the disk under x.db failed to read or write"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "x.db cannot be written: check permissions"),
        (sqlite3.SQLITE_INTERNAL, "x.db refused: bad luck"),
    ],
)
def test_what_sqlite_reports_becomes_a_sentence(code: int, sentence: str) -> None:
    error = sqlite3.OperationalError("bad luck")
    error.sqlite_errorcode = code
    assert str(translate(error, "x.db")).startswith(sentence)
