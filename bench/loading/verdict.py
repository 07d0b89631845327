"""What must be true when the load is over; every breach is one line."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from loading.clients import Tally
from loading.processes import Watch
from loading.service import CAPACITIES, LEASE_S, PLANS, Service

BROWSERS_MAX = 3
REST_MAX_S = LEASE_S + 15.0
"""How long everything may take to come to rest: work in flight, and leases nobody gives back."""

GAUGES = re.compile(r"tidegate_(pool_in_use|queue_depth|leases_active)\b")


async def at_rest(service: Service) -> list[str]:
    """Wait until nothing is held, and say what still is."""
    end_s, held = time.monotonic() + REST_MAX_S, ["not asked"]
    while held and time.monotonic() < end_s:
        await asyncio.sleep(0.5)
        held = [
            f"{name} is {n:g}"
            for name, n in (await service.metrics()).items()
            if n and GAUGES.match(name)
        ]
        for tenant in PLANS:
            shown: Any = await service.call("GET", "/v1/limits", tenant=tenant)
            held += [
                f"{tenant}: {limit['name']} has {limit['remaining']} of {limit['units']}"
                for limit in shown.get("limits", ())
                if limit["name"] in CAPACITIES and limit["remaining"] != limit["units"]
            ]
            held += [f"{tenant}: no limits"] if "limits" not in shown else []
    return held


async def usage(service: Service, tally: Tally) -> list[str]:
    """Compare what is billed with what the clients got.

    Both are equal. A client that hung up does not know whether its work was done before that was
    noticed: then its tenant is billed between none and all of those calls more, and their bytes.
    """
    wrong = []
    for tenant in PLANS:
        used: Any = await service.call("GET", f"/admin/tenants/{tenant}/usage")
        more = used["operation_count"] - tally.operations[tenant]
        more_bytes = used["data_bytes"] - tally.data_bytes[tenant]
        hung_up = tally.hung_up[tenant]
        print(
            f"  {tenant:4} {tally.operations[tenant]:6} operations, {tally.data_bytes[tenant]:10,}"
            f" bytes got; billed {more:+d} and {more_bytes:+,} bytes; {hung_up} calls hung up"
        )
        if not 0 <= more <= hung_up or more_bytes < 0 or (more_bytes > 0) != (more > 0):
            wrong.append(f"{tenant} is billed {more:+d} operations, {more_bytes:+,} bytes")
    return wrong


def answers(tally: Tally, *, faults: bool) -> list[str]:
    """Judge what the clients saw."""
    wrong = list(dict.fromkeys(tally.wrong))
    if tally.lost:
        wrong.append(f"connections were lost: {dict(tally.lost)}")
    failed = {code: n for code, n in tally.codes.items() if code.startswith("502")}
    if failed and not faults:
        wrong.append(f"work failed without a fault: {failed}")
    wrong += [
        f"not one {kind} succeeded"
        for kind, n in tally.statuses.items()
        if not (n[200] + n[201] + n[204])
    ]
    return wrong


def processes(watch: Watch, service: Service, status: int) -> list[str]:
    """Judge the browsers seen, and what is left after the end."""
    wrong = []
    if watch.browsers_most > BROWSERS_MAX:
        wrong.append(f"{watch.browsers_most} browsers were seen at once")
    if watch.browsers_most == 0:
        wrong.append("no browser was seen, so they were not counted")
    if status != 0:
        wrong.append(f"the service ended with status {status}")
    wrong += [f"left behind: {command[:100]}" for command in watch.left()]
    wrong += [f"left behind: {path}" for path in (service.folder / "tmp").iterdir()]
    if "Traceback" in service.log or '"level": "error"' in service.log:
        wrong.append(f"the log has an error: {_first_error(service.log)}")
    return wrong


def _first_error(log: str) -> str:
    return next(line for line in log.splitlines() if "Traceback" in line or '"error"' in line)[
        :2000
    ]
