"""Seeded simulations of a shared store: what must be true whatever goes wrong."""

from __future__ import annotations

import secrets
from random import Random

import pytest

from tests.simulation.clients import LATE_US, Client, Ledger, random_claim
from tests.simulation.scene import SECOND_US, TTL_US, Faults, Process, Store, Time
from tidegate.domain.claim import Claim
from tidegate.domain.limit import Capacity, RateLimit
from tidegate.domain.policy import Policy

POLICY = Policy(
    [
        RateLimit("requests", units=50, period_s=1, burst=10),
        Capacity("browsers", units=3),
        Capacity("gpus", units=2),
    ],
    weights={"c": 3},
)
BAD = Faults(lost_requests=15, lost_replies=15, pauses=2, crashes=1, clock_jumps=2)
SEEDS = [*range(12), 7329, 7555, 7760, secrets.randbelow(10**9)]


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_goes_wrong(seed: int) -> None:
    print(f"seed {seed}")
    random, time = Random(seed), Time()
    store = Store(time, random, BAD)
    ledger = Ledger(POLICY, store)
    processes = [Process(f"p{n}", store, POLICY) for n in range(4)]
    crashed: list[Process] = []
    for number in range(600):
        time.run(time.now_us + random.randrange(30_000))
        process = random.choice(processes)
        if random.randrange(1000) < BAD.crashes * 5 and len(processes) > 2:
            process.crashed = True
            processes.remove(process)
            crashed.append(process)
        elif random.randrange(1000) < BAD.pauses * 5:
            process.pause(random.randrange(3 * TTL_US))
        else:
            timeout_s = random.choice([0, 0.05, 0.5, 3.0])
            client = Client(
                ledger,
                process,
                random_claim(random, number // 2),
                timeout_s=timeout_s,
                work_us=random.randrange(100_000),
            )
            process.do(client.start)
        ledger.check_holders()
        ledger.check_store()
    store.faults = Faults()
    # Long enough for every lease that nobody looks after to expire.
    time.run(time.now_us + 40 * SECOND_US)
    ledger.check_store()
    held = {
        name: level.amount
        for name, level in store.world.levels.items()
        if not name.startswith("requests")
    }
    assert set(held.values()) <= {0}, f"what never came back: {held}"
    for process in processes:
        assert len(process.member.lanes) == 0
    assert not any(queue.places for queue in store.world.queues.values())
    assert ledger.outcomes["granted"] > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_every_claim_is_answered_within_its_timeout(seed: int) -> None:
    print(f"seed {seed}")
    random, time = Random(seed), Time()
    store = Store(time, random, Faults(lost_requests=5, lost_replies=5))
    ledger = Ledger(POLICY, store)
    processes = [Process(f"p{n}", store, POLICY) for n in range(3)]
    for number in range(400):
        time.run(time.now_us + random.randrange(20_000))
        client = Client(
            ledger,
            random.choice(processes),
            random_claim(random, number + 1000),
            timeout_s=random.choice([0.05, 0.5, 2.0]),
            work_us=random.randrange(100_000),
        )
        client.start()
    time.run(time.now_us + 5 * SECOND_US)
    assert ledger.unanswered == 0
    assert max(ledger.late_us) <= LATE_US


@pytest.mark.parametrize("seed", SEEDS)
def test_no_tenant_gets_less_than_its_share(seed: int) -> None:
    """Three tenants that always want more; the third has weight 3."""
    print(f"seed {seed}")
    random, time = Random(seed), Time()
    store = Store(time, random, Faults(lost_replies=5))
    ledger = Ledger(POLICY, store)
    processes = [Process(f"p{n}", store, POLICY) for n in range(2)]

    def ask_again(process: Process, tenant: str) -> None:
        Client(
            ledger,
            process,
            Claim(tenant=tenant, hold={"gpus": 1}),
            timeout_s=60,
            work_us=10_000,
        ).start()

    for process in processes:
        for tenant in "abc":
            for n in range(150):
                time.after(n, lambda p=process, t=tenant: ask_again(p, t))  # type: ignore[misc]
    # As long as all of them have claims left that wait.
    while min(len(process.member.lanes) for process in processes) == 0:
        time.run(time.now_us + 1_000)
    while ledger.served["c"] < 240:
        time.run(time.now_us + 1_000)
    total = sum(ledger.served.values())
    for tenant, weight in {"a": 1, "b": 1, "c": 3}.items():
        assert ledger.served[tenant] >= 0.8 * total * weight / 5, ledger.served
