"""The store in a SQLite file when the file, the disk or the clock is bad."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tests.integration.sql_admission import HOLD, PATIENT_S, amount, batch, connected, sqlite_url
from tests.integration.test_sql_shared import child, line
from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.shared.sqlite import schema
from tidegate.adapters.sql.shared.sqlite.store import SqliteBlockingStore
from tidegate.domain.batch import Admit, No, Yes
from tidegate.domain.limit import RateLimit
from tidegate.domain.rule import rule_of
from tidegate.errors import InvalidSetting, StoreUnavailable

pytestmark = pytest.mark.anyio

DAY_US = 86_400_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admission.db"


def refused(path: Path, error: type[Exception]) -> str:
    """Try to connect; return what was said. A refusal leaves nothing open and changes nothing."""
    store = SqliteBlockingStore(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as caught:
        store.connect()
    assert (path.read_bytes() if path.is_file() else None) == before
    store.close()
    return str(caught.value)


def test_a_clock_that_is_set_back_reopens_nothing(path: Path) -> None:
    times = [10 * DAY_US]
    rule = rule_of(RateLimit("calls", units=1, period_s=10), times[0])
    take = Admit((0, 0, 1), "x")

    def answer(store: SqliteBlockingStore, seq: int) -> type:
        return type(store.apply(batch(seq, take, rules=(rule,))).answers[0])

    store = SqliteBlockingStore(path, clock_us=lambda: times[0])
    store.connect()
    assert [answer(store, seq) for seq in (1, 2)] == [Yes, No]
    times[0] -= DAY_US
    assert answer(store, 3) is No
    assert store.apply(batch(4)).now_us == 10 * DAY_US
    store.close()
    # Nor when another process comes, whose clock was never right.
    other = SqliteBlockingStore(path, clock_us=lambda: times[0])
    other.connect()
    assert answer(other, 5) is No
    times[0] = 10 * DAY_US + 10_000_000
    assert answer(other, 6) is Yes
    other.close()


def test_many_may_make_the_file_at_once(tmp_path: Path) -> None:
    def make(file: Path) -> None:
        together.wait()
        store = SqliteBlockingStore(file, timeout_s=PATIENT_S)
        store.connect()
        store.close()

    together = threading.Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        for number in range(40):
            for made in [threads.submit(make, tmp_path / f"{number}.db") for _ in range(8)]:
                made.result()


def test_the_file_is_private_and_its_own(path: Path) -> None:
    with connected(f"sqlite:///{path}"):
        assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    assert "no other program" in refused(path, InvalidSetting)


async def test_the_ledger_and_the_store_refuse_each_other(tmp_path: Path, path: Path) -> None:
    async with Database(tmp_path / "ledger.db"):
        pass
    assert "no other program" in refused(tmp_path / "ledger.db", InvalidSetting)
    with connected(f"sqlite:///{path}"):
        pass
    with pytest.raises(StoreUnavailable, match="another program"):
        await Database(path).open()


def test_files_that_cannot_be_used_are_refused(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "a folder that exists" in refused(tmp_path / "no" / "file.db", InvalidSetting)
    assert "cannot be opened" in refused(tmp_path, StoreUnavailable)
    path.write_bytes(b"this is no database at all" * 100)
    assert "is damaged or no SQLite database" in refused(path, StoreUnavailable)
    path.unlink()
    with connected(f"sqlite:///{path}"):
        pass
    monkeypatch.setattr(schema, "VERSION", 2)
    assert "of version 2; this one, of version 1" in refused(path, InvalidSetting)


def test_damage_is_noticed_and_what_is_left_is_not_made_worse(path: Path) -> None:
    cells = tuple(f"cell-{number}" for number in range(2_000))
    takes = [Admit((index, 0, 1), "x") for index in range(2_000)]
    with connected(f"sqlite:///{path}") as store:
        store.apply(batch(1, *takes, cells=cells))
    pages = bytearray(path.read_bytes())
    pages[4096 * 3 :] = b"\xff" * (len(pages) - 4096 * 3)
    path.write_bytes(pages)
    with connected(f"sqlite:///{path}") as store:
        with pytest.raises(StoreUnavailable, match="is damaged"):
            store.apply(batch(2, *takes, cells=cells))
    assert path.read_bytes()[4096 * 3 :] == pages[4096 * 3 :]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_deleted_is_made_again(path: Path, replaced: bool) -> None:
    with connected(f"sqlite:///{path}") as store:
        store.apply(batch(1, HOLD))
        for file in path.parent.glob("admission.db*"):
            file.unlink()
        if replaced:
            path.touch()
        with pytest.raises(StoreUnavailable, match="was deleted or replaced"):
            store.apply(batch(2, HOLD))
        store.connect()
        store.apply(batch(2, HOLD))
        assert amount(store) == 1


def test_a_process_that_stops_in_its_transaction_costs_no_more_than_the_timeout(
    path: Path,
) -> None:
    url = f"sqlite:///{path}"
    with connected(url, timeout_s=0.3) as store, child("stuck", url, "60") as process:
        assert line(process) == "held"
        start_s = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            store.apply(batch(1, HOLD))
        assert time.monotonic() - start_s < PATIENT_S
        process.kill()
        process.wait()
        store.connect()
        store.apply(batch(1, HOLD))
        assert amount(store) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.mark.needs("tmpfs")
def test_a_full_disk_is_said_and_loses_nothing(small_disk: Path) -> None:
    url = sqlite_url(small_disk)
    filler = small_disk / "filler"
    with connected(url) as store:
        store.apply(batch(1, HOLD))
        held = 1
        filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096 - 40 * 4096))
        seq = 1
        with pytest.raises(StoreUnavailable, match=r"disk under .* is full"):
            while True:
                seq += 1
                cells = tuple(f"{'x' * 200}-{seq}-{number}" for number in range(50))
                rows = tuple(word for number in range(51) for word in (number, 0, 1))
                store.apply(batch(seq, Admit(rows, "x"), cells=("room", *cells)))
                held += 1
        filler.unlink()
        store.connect()
        # The batch that failed is sent again, and counts once.
        store.apply(batch(seq, HOLD))
        assert amount(store) == held + 1
    with sqlite3.connect(small_disk / "admission.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_file_of_another_user_is_only_refused(path: Path) -> None:
    with connected(f"sqlite:///{path}"):
        pass
    store = SqliteBlockingStore(path)
    store.connect()
    store._connection.execute("PRAGMA query_only = ON")  # type: ignore[union-attr]
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        store.apply(batch(1, HOLD))
    store.close()


def test_rows_that_mean_nothing_do_not_pile_up(path: Path) -> None:
    rule = rule_of(RateLimit("calls", units=1, period_s=1), DAY_US)
    times = [DAY_US]
    store = SqliteBlockingStore(path, clock_us=lambda: times[0])
    store.connect()
    most = 0
    for seq in range(1, 400):
        times[0] += 1_000_000
        cells = tuple(f"host-{seq}-{number}" for number in range(100))
        calls = [
            Admit((number, 0, 1), "x", claim_id=f"{seq}-{number}", digest="d")
            for number in range(100)
        ]
        sent = batch(seq, *calls, rules=(rule,), cells=cells)
        store.apply(msgspec.structs.replace(sent, ttl_us=DAY_US))
        counts = [
            store._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # type: ignore[union-attr]
            for table in ("cells", "ids")
        ]
        most = max(most, *counts)
    # What lives a minute longer than it means something, and as much again on its way out.
    assert most < 30_000
    store.close()
