"""The load run: four tenants, hundreds of requests at once, and everything must add up after it.

A real `tidegate serve` with limits that bite; render, extract, PDFs, claims and leases from a
site on five hosts. With --faults browsers and PDF workers are killed and clients hang up. Ends
with status 1 if a rule was broken: see `loading/verdict.py`. Service, site and clients share the
machine, so its figures are for comparing one run with the next.

Run: python bench/load.py [--seconds 20] [--parallel 200] [--faults]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import uvloop
from loading import verdict
from loading.clients import Load, Tally
from loading.processes import Watch, cpu_s, descriptors, kill, resident_mib, threads
from loading.service import Service
from loading.site import Site

FAULT_EVERY_S = 2.0


async def break_things(watch: Watch) -> None:
    """Kill a browser and a PDF worker every now and then."""
    dice = random.Random(1)
    while True:
        await asyncio.sleep(FAULT_EVERY_S * (0.5 + dice.random()))
        for pids in (watch.browsers(), watch.workers()):
            if pids:
                kill(dice.choice(pids))


async def run(folder: Path, seconds: float, parallel: int, *, faults: bool) -> list[str]:
    site = Site()
    await site.start()
    service = Service(folder, site.port)
    service.start()
    watch = Watch(service.process.pid)
    watch.start()
    try:
        await service.ready()
        await service.create_tenants()
        load = Load(service, site.port, parallel=parallel, faults=faults)
        breaking = asyncio.create_task(break_things(watch)) if faults else None
        pid, before_s, started_s = service.process.pid, cpu_s(service.process.pid), time.monotonic()
        own_s, descriptors_before = time.process_time(), descriptors(pid)
        await load.run(seconds)
        took_s = time.monotonic() - started_s
        if breaking is not None:
            breaking.cancel()
            with suppress(asyncio.CancelledError):
                await breaking
        report(load.tally, took_s)
        print(
            f"CPU seconds: service {cpu_s(pid) - before_s:.1f}, clients, site and watch"
            f" {time.process_time() - own_s:.1f}, of {took_s:.1f} s; site requests {site.requests}"
        )
        broken = verdict.answers(load.tally, faults=faults)
        broken += await verdict.at_rest(service)
        print("usage by tenant:")
        broken += await verdict.usage(service, load.tally)
        print(
            f"service at rest: {resident_mib(pid)} MiB, {threads(pid)} threads, "
            f"{descriptors(pid)} descriptors ({descriptors_before} before the load)"
        )
        ending_s = time.monotonic()
        status = service.end()
        ended_s = time.monotonic() - ending_s
        watch.stop()
        print(
            f"at most {watch.browsers_most} browsers and {watch.processes_most} processes in"
            f" {watch.samples} samples; ended in {ended_s:.2f} s with status {status}"
        )
        return broken + verdict.processes(watch, service, status)
    finally:
        service.kill()
        watch.stop()
        await site.stop()


def report(tally: Tally, took_s: float) -> None:
    total = sum(sum(counter.values()) for counter in tally.statuses.values())
    print(f"{total} answers in {took_s:.1f} s, {total / took_s:.0f} a second:")
    for kind, counter in tally.statuses.items():
        shown = ", ".join(f"{status}: {n}" for status, n in sorted(counter.items()))
        waits_s = sorted(tally.waits_s.get(kind, [0.0]))
        p99_s = waits_s[min(len(waits_s) - 1, int(0.99 * len(waits_s)))]
        middle_s = statistics.median(waits_s)
        print(f"  {kind:12} {shown:50} good ones: median {middle_s:.3f} s, P99 {p99_s:.3f} s")
    print(
        "refusals and failures:",
        ", ".join(f"{n} x {code}" for code, n in sorted(tally.codes.items())),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--parallel", type=int, default=200)
    parser.add_argument("--faults", action="store_true", help="kill workers, hang up")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidegate-load-") as folder:
        # Browsers started as root run as other users and pass through here to their profiles.
        Path(folder).chmod(0o711)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            broken = runner.run(
                run(Path(folder), arguments.seconds, arguments.parallel, faults=arguments.faults)
            )
    for rule in broken:
        print(f"BROKEN: {rule}")
    if broken:
        raise SystemExit(1)
    print("Every rule held.")


if __name__ == "__main__":
    main()
