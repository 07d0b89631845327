"""The SQL stores alone: batches of claims, four limits each, of which one is common to all.

No session and no gate: one thread applies one batch after the other, then several processes do at
the same time. The peer is one transaction with row locks for each claim, 512 tasks at it, in turns
with ours on the same server; every commit waits for the disk. After each run the common cell has
to hold exactly what was granted. CPU is of the clients, per claim; compare ratios, since clients
and server share the machine.

Run: python bench/sql_admission.py [--seconds 1] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

# Tests keep the real server.
sys.path.insert(1, str(Path(__file__).parents[1]))

import msgspec
from admitting import postgres_peer
from admitting.crowd import compete
from admitting.effort import FULL
from admitting.own import AMPLE
from admitting.redis_rates import HOSTS, TENANTS
from tests.servers.postgres import Postgres

from tidegate import Quota, RateLimit
from tidegate.adapters.sql.shared.postgres.store import PostgresBlockingStore
from tidegate.adapters.sql.shared.sqlite.store import SqliteBlockingStore
from tidegate.domain.batch import APPLIED, Admit, Batch, Levels, Look, Part, Yes
from tidegate.domain.rule import rule_of

SIZES = (1, 16, 64, 256)
PROCESSES = (1, 2, 4)
TIMEOUT_S = 60.0
TTL_US = 60_000_000
LIMITS = (
    RateLimit("calls", units=AMPLE, period_s=1, per=("tenant",)),
    RateLimit("host_calls", units=AMPLE, period_s=1, per=("tenant", "host")),
    Quota("operations", units=AMPLE, period="month", per=("tenant",)),
    Quota("all", units=AMPLE, period="month"),
)
HOT = "all"

Store = PostgresBlockingStore | SqliteBlockingStore


@contextmanager
def connected(url: str) -> Iterator[Store]:
    path = url.removeprefix("sqlite:///")
    known = SqliteBlockingStore(path, timeout_s=TIMEOUT_S) if path != url else None
    store = known or PostgresBlockingStore(url, timeout_s=TIMEOUT_S)
    store.connect()
    try:
        yield store
    finally:
        store.close()


def claims(member: str, size: int) -> Batch:
    """Return a batch of claims of many tenants and hosts."""
    now_us = time.time_ns() // 1000
    index: dict[str, int] = {}
    calls = []
    for task in range(size):
        tenant, host = f"t{task % TENANTS}", f"h{task % HOSTS}"
        names = (f"calls:{tenant}", f"host_calls:{tenant}:{host}", f"operations:{tenant}", HOT)
        cells = [index.setdefault(name, len(index)) for name in names]
        calls.append(Admit(tuple(Part(cell, rule, 1) for rule, cell in enumerate(cells)), tenant))
    rules = tuple(rule_of(limit, now_us) for limit in LIMITS)
    return Batch(member, 0, TTL_US, True, 0, rules, tuple(index), tuple(calls))


def apply_for(store: Store, batch: Batch, seconds: float) -> tuple[int, float, float]:
    """Apply batches; return how many claims were granted, in what time, and by how much CPU."""
    granted, seq = 0, time.time_ns()
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    while (took_s := time.perf_counter() - begun_s) < seconds:
        seq += 1
        reply = store.apply(msgspec.structs.replace(batch, seq=seq))
        assert reply.state == APPLIED, reply
        granted += sum(type(answer) is Yes for answer in reply.answers)
    return granted, took_s, time.process_time() - cpu_s


def amount(url: str) -> int:
    """Return what the common cell holds."""
    look = Batch("looks", 0, TTL_US, True, 0, (), (HOT,), (Look((0,)),))
    with connected(url) as store:
        (answer,) = store.apply(look).answers
    assert isinstance(answer, Levels)
    return answer.levels[0]


def member(url: str, name: str, size: int, seconds: float) -> None:
    """Be one of several processes: start at a word, and tell what was granted."""
    batch = claims(name, size)
    with connected(url) as store:
        apply_for(store, batch, seconds / 10)
        print("ready", flush=True)
        sys.stdin.readline()
        granted, _, _ = apply_for(store, batch, seconds)
        print(granted, flush=True)


def together(url: str, count: int, size: int, seconds: float) -> float:
    """Return the claims a second of so many processes."""
    with ExitStack() as stack:
        processes = []
        for number in range(count):
            words = [url, f"{count}-{size}-{number}-{time.time_ns()}", str(size), str(seconds)]
            process = subprocess.Popen(
                [sys.executable, __file__, "--member", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.append(stack.enter_context(process))
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return sum(int(process.communicate()[0]) for process in processes) / seconds


def peer(url: str, seconds: float) -> float:
    effort = replace(FULL, bursts=1, burst_s=seconds)
    found = asyncio.run(compete([postgres_peer.row_locks(url)], effort))
    rate = found.middle(postgres_peer.NAME, "rate")
    assert rate is not None, found.absent
    return rate


def alone(kind: str, url: str, rounds: int, seconds: float, *, with_peer: bool) -> None:
    """Measure one thread with batches of every size, in turns with the peer."""
    rates: dict[int, list[float]] = {size: [] for size in SIZES}
    cpus: dict[int, list[float]] = {size: [] for size in SIZES}
    peers = []
    before, granted = amount(url), 0
    with connected(url) as store:
        for _ in range(rounds):
            peers.append(peer(url, seconds) if with_peer else 0.0)
            for size in SIZES:
                batch = claims(f"alone-{size}", size)
                granted += apply_for(store, batch, seconds / 10)[0]
                done, took_s, cpu_s = apply_for(store, batch, seconds)
                granted += done
                rates[size].append(done / took_s)
                cpus[size].append(cpu_s / done * 1e6)
    assert amount(url) - before == granted, "the common cell does not hold what was granted"
    if with_peer:
        show(f"{postgres_peer.NAME}, 512 tasks", statistics.median(peers))
    for size in SIZES:
        ratio = statistics.median(map(lambda a, b: a / b if b else 0.0, rates[size], peers))
        cpu_us = statistics.median(cpus[size])
        show(f"{kind}, {size} a batch", statistics.median(rates[size]), ratio, cpu_us)


def show(label: str, rate: float, ratio: float = 0.0, cpu_us: float = 0.0) -> None:
    told = f"{f'{ratio:.1f}x' if ratio else '':>8} {f'{cpu_us:.1f}' if cpu_us else '':>8}"
    print(f"{label:40} {rate:10,.0f} {told}", flush=True)


def measure(kind: str, url: str, arguments: argparse.Namespace, *, with_peer: bool) -> None:
    alone(kind, url, arguments.rounds, arguments.seconds, with_peer=with_peer)
    for size in (1, 16, 256):
        for count in PROCESSES:
            runs = [together(url, count, size, arguments.seconds) for _ in range(arguments.rounds)]
            show(f"{kind}, {count} processes, {size} a batch", statistics.median(runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contender and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--member", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.member:
        url, name, size, seconds = arguments.member
        member(url, name, int(size), float(seconds))
        return
    print(f"{'':40} {'claims/s':>10} {'':>8} {'CPU us':>8}")
    with Postgres(fsync=True) as server:
        measure("PostgreSQL", server.url, arguments, with_peer=True)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        measure("SQLite", f"sqlite:///{folder}/admission.db", arguments, with_peer=False)


if __name__ == "__main__":
    main()
