"""What a claim costs a Redis or Valkey: the script alone, in batches that were built before.

Each round gives every kind of claim and every size of batch the same number of claims, on one
server that nobody else uses; the table shows medians over the rounds of the server's CPU time for
a claim, its release included, how long a batch keeps the server from others, and what the client
spends on packing, the wire and reading. Four limits are two rates, a quota and a capacity.

Run: python bench/redis_admission.py [--claims 20000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

# Tests keep the real server.
sys.path.insert(1, str(Path(__file__).parents[1]))

from tests.servers.valkey import Valkey

from tidegate.adapters.redis.address import parse_address
from tidegate.adapters.redis.admission_store import RedisSharedStore
from tidegate.domain.batch import Admit, Batch, Call, GiveBack, Part, Reply, Yes
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit
from tidegate.domain.rule import rule_of

AMPLE = 10**9
FOUR: list[Limit] = [
    RateLimit("requests", units=AMPLE, period_s=1, per=("tenant",)),
    RateLimit("host_requests", units=AMPLE, period_s=1, per=("host",)),
    Quota("operations", units=AMPLE, period="day", per=("tenant",)),
    Capacity("browsers", units=AMPLE),
]
REFUSING: list[Limit] = [*FOUR[:3], Capacity("browsers", units=1)]
HOSTS = 50
SIZES = (1, 16, 64, 256)
IN_FLIGHT = 4
TIMEOUT_S = 60.0
MEMBER_TTL_US = 600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of claim. `granted`: whether it is, and then released in the same batch."""

    name: str
    limits: Sequence[Limit]
    tenants: int
    granted: bool = True


KINDS = (
    Kind(name="one rate, 100 tenants", limits=FOUR[:1], tenants=100),
    Kind(name="one rate, 10,000 tenants", limits=FOUR[:1], tenants=10_000),
    Kind(name="four limits + release, 100 tenants", limits=FOUR, tenants=100),
    Kind(name="four limits + release, 10,000 tenants", limits=FOUR, tenants=10_000),
    Kind(name="four limits, refused, 100 tenants", limits=REFUSING, tenants=100, granted=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one kind at one size."""

    server_us: float
    client_us: float
    blocked_us: float


class Builder:
    """Makes the batches of one member, in their order."""

    def __init__(self, kind: Kind, member: str) -> None:
        self._kind, self._member = kind, member
        now_us = time.time_ns() // 1000
        self._rules = tuple(rule_of(limit, now_us) for limit in kind.limits)
        self._random, self._seq = Random(1), 0

    def batch(self, size: int) -> Batch:
        """Return the next batch of so many claims, each with its release."""
        cells: dict[str, int] = {}
        calls: list[Call] = []

        def cell(*words: str) -> int:
            return cells.setdefault("\x1f".join(words), len(cells))

        for _ in range(size):
            of = {
                "tenant": f"tenant-{self._random.randrange(self._kind.tenants)}",
                "host": f"host-{self._random.randrange(HOSTS)}.example",
            }
            names = [[limit.name, *(of[part] for part in limit.per)] for limit in self._kind.limits]
            parts = tuple(Part(cell(*words), rule, 1) for rule, words in enumerate(names))
            calls.append(Admit(parts, of["tenant"]))
        held = any(isinstance(limit, Capacity) for limit in self._kind.limits)
        if held and self._kind.granted:
            calls += [GiveBack((cell("browsers"), 1))] * size
        self._seq += 1
        return Batch(
            self._member,
            self._seq,
            MEMBER_TTL_US,
            True,
            0,
            self._rules,
            tuple(cells),
            tuple(calls),
        )


async def measured(
    store: RedisSharedStore, server: Valkey, kind: Kind, size: int, claims: int
) -> Sample:
    """Send so many claims, a few batches at a time."""
    builders = [Builder(kind, f"member-{number}-{time.time_ns()}") for number in range(IN_FLIGHT)]
    rounds = max(2, claims // size // IN_FLIGHT)
    if not kind.granted:
        taken = Batch("holder", 0, MEMBER_TTL_US, True, 0, *one_browser())
        await store.apply(taken)
    trains = [[builder.batch(size) for _ in range(rounds)] for builder in builders]
    server.ask("CONFIG", "RESETSTAT")
    server_s, client_s = server_cpu_s(server), time.process_time()

    async def send(train: list[Batch]) -> Reply:
        for batch in train:
            reply = await store.apply(batch)
        return reply

    replies = await asyncio.gather(*map(send, trains))
    client_s, server_s = time.process_time() - client_s, server_cpu_s(server) - server_s
    for reply in replies:
        assert (type(reply.answers[0]) is Yes) == kind.granted, reply.answers[0]
    count = rounds * size * IN_FLIGHT
    return Sample(
        server_us=server_s / count * 1e6,
        client_us=client_s / count * 1e6,
        blocked_us=script_us(server),
    )


def one_browser() -> tuple[tuple, tuple[str, ...], tuple[Call, ...]]:
    rule = rule_of(REFUSING[-1], 0)
    return (rule,), ("browsers",), (Admit((Part(0, 0, 1),), "holder"),)


def server_cpu_s(server: Valkey) -> float:
    found = info(server, "cpu")
    return float(found["used_cpu_sys"]) + float(found["used_cpu_user"])


def script_us(server: Valkey) -> float:
    """Return how long a script ran, on average since the statistics were reset."""
    fields = dict(
        pair.split("=") for pair in info(server, "commandstats")["cmdstat_evalsha"].split(",")
    )
    return float(fields["usec_per_call"])


def info(server: Valkey, section: str) -> dict[str, str]:
    found: bytes = server.ask("INFO", section)
    return dict(line.split(":", 1) for line in found.decode().splitlines() if ":" in line)


async def compare(server: Valkey, claims: int, rounds: int) -> None:
    store = RedisSharedStore(parse_address(server.url), timeout_s=TIMEOUT_S)
    await store.connect()
    print(f"{'CPU us a claim: server, client; us a batch':44}", *(f"{n:>18}" for n in SIZES))
    samples: dict[tuple[str, int], list[Sample]] = {}
    for _ in range(rounds):
        for kind in KINDS:
            for size in SIZES:
                server.ask("FLUSHALL")
                sample = await measured(store, server, kind, size, claims)
                samples.setdefault((kind.name, size), []).append(sample)
    for kind in KINDS:
        shown = []
        for size in SIZES:
            of = samples[kind.name, size]

            def middle(read: Callable[[Sample], float], of: list[Sample] = of) -> float:
                return statistics.median(map(read, of))

            shown.append(
                f"{middle(lambda s: s.server_us):6.1f} {middle(lambda s: s.client_us):5.1f}"
                f" {middle(lambda s: s.blocked_us):5.0f}"
            )
        print(f"{kind.name:44}", *(f"{text:>18}" for text in shown))
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--claims", type=int, default=20_000, help="of each kind, size and round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with Valkey() as server:
        asyncio.run(compare(server, arguments.claims, arguments.rounds))


if __name__ == "__main__":
    main()
