"""Our wire to Redis against redis-py's, in one run: EVALSHA of one small script, 1000 keys.

Each round gives every contender the same time on the same server; the table shows medians over
the rounds. CPU is per call, of this process and of the server; compare ratios, since server and
clients share the machine. redis-py's asyncio pool gets a connection for each task: with its
default it refuses a hundred.

Run: python bench/redis_wire.py [--seconds 1] [--rounds 5] [--uvloop]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Tests keep the real server.
sys.path.insert(1, str(Path(__file__).parents[1]))

import redis
import redis.asyncio
import uvloop
from tests.servers.valkey import Valkey

from tidegate.adapters.redis.address import parse_address
from tidegate.adapters.redis.blocking_wire import BlockingWire
from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.wire import AsyncWire

SCRIPT = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
KEYS = 1000
TASKS = (1, 64, 512)
PIPELINE = 64
DEADLINE_US = 60_000_000

Ask = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One contender, one round."""

    per_s: float
    p50_us: float
    p99_us: float
    client_us: float
    server_us: float


class Watch:
    """Counts calls, their latencies, and the CPU time they cost on both sides."""

    def __init__(self, server: Valkey, seconds: float) -> None:
        self.server, self.latencies_s = server, list[float]()
        self.server_before_s = server_cpu_s(server)
        self.client_before_s, self.started_s = time.process_time(), time.perf_counter()
        self.end_s = self.started_s + seconds

    def done(self, calls: int) -> Sample:
        took_s = time.perf_counter() - self.started_s
        client_s = time.process_time() - self.client_before_s
        server_s = server_cpu_s(self.server) - self.server_before_s
        cuts = statistics.quantiles(self.latencies_s, n=100)
        return Sample(
            per_s=calls / took_s,
            p50_us=cuts[49] * 1e6,
            p99_us=cuts[98] * 1e6,
            client_us=client_s / calls * 1e6,
            server_us=server_s / calls * 1e6,
        )


def server_cpu_s(server: Valkey) -> float:
    found: bytes = server.ask("INFO", "cpu")
    fields = dict(line.split(":") for line in found.decode().split() if ":" in line)
    return float(fields["used_cpu_sys"]) + float(fields["used_cpu_user"])


async def crowd(ask: Ask, server: Valkey, tasks: int, seconds: float) -> Sample:
    """Let each task call again as soon as it is answered."""
    # A pool makes its connections at the first calls.
    await asyncio.gather(*(ask(f"key:{number}") for number in range(tasks)))
    watch = Watch(server, seconds)

    async def one(number: int) -> None:
        now_s = time.perf_counter()
        while now_s < watch.end_s:
            await ask(f"key:{number % KEYS}")
            began_s, now_s = now_s, time.perf_counter()
            watch.latencies_s.append(now_s - began_s)
            number += 7

    await asyncio.gather(*map(one, range(tasks)))
    return watch.done(len(watch.latencies_s))


def alone(ask: Callable[[], object], server: Valkey, seconds: float, batch: int) -> Sample:
    """Call, one after the other, `batch` commands at a time."""
    watch = Watch(server, seconds)
    now_s = time.perf_counter()
    while now_s < watch.end_s:
        ask()
        began_s, now_s = now_s, time.perf_counter()
        watch.latencies_s.append(now_s - began_s)
    return watch.done(len(watch.latencies_s) * batch)


async def round_of_tasks(server: Valkey, tasks: int, seconds: float) -> tuple[Sample, Sample]:
    endpoint = parse_address(server.url).endpoint()
    bounds = Bounds(deadline_us=DEADLINE_US)
    async with redis.asyncio.Redis.from_url(server.url, max_connections=600) as client:
        sha = await client.script_load(SCRIPT)
        theirs = await crowd(lambda key: client.evalsha(sha, 1, key, "1"), server, tasks, seconds)
    async with AsyncWire(endpoint, bounds) as wire:
        ours = await crowd(lambda key: wire.call("EVALSHA", sha, 1, key, 1), server, tasks, seconds)
    return theirs, ours


def round_of_threads(server: Valkey, batch: int, seconds: float) -> tuple[Sample, Sample]:
    endpoint = parse_address(server.url).endpoint()
    with redis.Redis.from_url(server.url) as client:
        sha = client.script_load(SCRIPT)

        def piped() -> object:
            with client.pipeline(transaction=False) as pipeline:
                for number in range(batch):
                    pipeline.evalsha(sha, 1, f"key:{number}", "1")
                return pipeline.execute()

        single = lambda: client.evalsha(sha, 1, "key:1", "1")  # noqa: E731
        theirs = alone(single if batch == 1 else piped, server, seconds, batch)
    with BlockingWire(endpoint, Bounds(deadline_us=DEADLINE_US)) as wire:

        def many() -> object:
            return wire.call_many([("EVALSHA", sha, 1, f"key:{n}", 1) for n in range(batch)])

        one = lambda: wire.call("EVALSHA", sha, 1, "key:1", 1)  # noqa: E731
        ours = alone(one if batch == 1 else many, server, seconds, batch)
    return theirs, ours


def show(label: str, samples: Iterable[Sample], ratio: float | None) -> None:
    rows = list(samples)

    def middle(field: str) -> float:
        return statistics.median([float(getattr(row, field)) for row in rows])

    print(
        f"{label:34} {middle('per_s'):9,.0f} {middle('p50_us'):9,.0f} {middle('p99_us'):9,.0f}"
        f" {middle('client_us'):8.1f} {middle('server_us'):8.1f}"
        f" {f'{ratio:6.2f}x' if ratio else '':>8}"
    )


def compare(kind: str, peer: str, rounds: list[tuple[Sample, Sample]]) -> None:
    ratio = statistics.median(ours.per_s / theirs.per_s for theirs, ours in rounds)
    show(f"{peer}", [theirs for theirs, _ in rounds], None)
    show(f"{kind}", [ours for _, ours in rounds], ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contender and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    factory = uvloop.new_event_loop if arguments.uvloop else asyncio.new_event_loop
    print(f"{'':34} {'calls/s':>9} {'p50 us':>9} {'p99 us':>9} {'client':>8} {'server':>8}")
    with Valkey() as server:
        for tasks in TASKS:
            rounds = []
            for _ in range(arguments.rounds):
                with asyncio.Runner(loop_factory=factory) as runner:
                    work = round_of_tasks(server, tasks, arguments.seconds)
                    rounds.append(runner.run(work))
            compare(f"AsyncWire, {tasks} tasks", f"redis.asyncio, {tasks} tasks", rounds)
        for batch in (1, PIPELINE):
            rounds = [
                round_of_threads(server, batch, arguments.seconds) for _ in range(arguments.rounds)
            ]
            compare(f"BlockingWire, {batch} at once", f"redis-py, {batch} at once", rounds)


if __name__ == "__main__":
    main()
