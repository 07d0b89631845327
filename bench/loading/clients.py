"""Tenants that never rest: each client asks for something, counts the answer, and asks again."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from loading.service import LEASE_S, PLANS, Service
from loading.site import ARTICLE, DOCUMENT, HOSTS
from loading.wire import Answer, Connection

GOVERNED = ("render", "extract", "extract html", "pdf", "pdf upload")
WEIGHTS = {
    "render": 20,
    "extract": 20,
    "extract html": 10,
    "pdf": 10,
    "pdf upload": 15,
    "claim": 20,
    "limits": 5,
}
PATHS = {kind: "/v1/" + kind.split()[0] for kind in GOVERNED} | {
    "claim": "/v1/claims",
    "limits": "/v1/limits",
}
BOUNDARY = "load-run-boundary"
UPLOAD = (
    (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=file; filename=tables.pdf\r\n"
        "Content-Type: application/pdf\r\n\r\n"
    ).encode()
    + DOCUMENT
    + f"\r\n--{BOUNDARY}--\r\n".encode()
)
HANG_UPS = 0.05
"""Share of the clients' requests that they do not wait for, when there are faults."""


@dataclass(slots=True)
class Tally:
    """What the clients saw. `operations` and `data_bytes` by tenant: governed 200s alone."""

    statuses: dict[str, Counter[int]] = field(
        default_factory=lambda: {kind: Counter() for kind in (*WEIGHTS, "release")}
    )
    codes: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    data_bytes: Counter[str] = field(default_factory=Counter)
    hung_up: Counter[str] = field(default_factory=Counter)
    waits_s: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)

    def count(self, kind: str, tenant: str, answer: Answer, waited_s: float) -> None:
        """Note one answer, and what must not be in it."""
        self.statuses[kind][answer.status] += 1
        if answer.status == 200 and kind in GOVERNED:
            self.operations[tenant] += 1
            self.data_bytes[tenant] += len(answer.body)
        if answer.status < 300:
            self.waits_s.setdefault(kind, []).append(waited_s)
            return
        self.codes[f"{answer.status} {answer.json()['code']}"] += 1
        retry_after = answer.headers.get("retry-after", "")
        if answer.status in (429, 503) and not (retry_after.isdigit() and int(retry_after) >= 1):
            self.wrong.append(f"{kind}: {answer.status} with Retry-After {retry_after!r}")
        elif answer.status not in (429, 502, 503, 504):
            self.wrong.append(f"{kind}: {answer.status} {answer.body[:200]!r}")


class Load:
    """So many clients of four tenants at once, until the time is over."""

    def __init__(self, service: Service, site_port: int, *, parallel: int, faults: bool) -> None:
        self.tally = Tally()
        self._service, self._site_port = service, site_port
        self._parallel, self._faults = parallel, faults
        self._until_s = 0.0

    async def run(self, seconds: float) -> None:
        self._until_s = time.monotonic() + seconds
        names = list(PLANS)
        clients = (
            self._client(names[number % len(names)], random.Random(number))
            for number in range(self._parallel)
        )
        await asyncio.gather(*clients)

    async def _client(self, tenant: str, dice: random.Random) -> None:
        connection = Connection(self._service.port)
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        while time.monotonic() < self._until_s:
            kind = dice.choices(kinds, weights)[0]
            try:
                await self._ask(connection, kind, tenant, dice)
            except (OSError, EOFError) as error:
                connection.close()
                self.tally.lost[f"{kind}: {type(error).__name__}"] += 1
        connection.close()

    async def _ask(
        self, connection: Connection, kind: str, tenant: str, dice: random.Random
    ) -> None:
        key, started_s = self._service.keys[tenant], time.monotonic()
        method = "GET" if kind == "limits" else "POST"
        media_type = "application/json"
        if kind == "pdf upload":
            media_type = f"multipart/form-data; boundary={BOUNDARY}"
        body = self._body(kind, dice)
        await connection.send(method, PATHS[kind], key, body, media_type=media_type)
        if self._faults and dice.random() < HANG_UPS:
            await asyncio.sleep(dice.random())
            connection.close()
            self.tally.hung_up[tenant] += 1
            return
        answer = await connection.receive()
        self.tally.count(kind, tenant, answer, time.monotonic() - started_s)
        if answer.status == 201:
            await asyncio.sleep(dice.random() * 0.05)
            await self._release(connection, tenant, answer.json()["lease_id"])

    async def _release(self, connection: Connection, tenant: str, lease_id: str) -> None:
        """Give a lease back, however often the tenant's rate refuses the call."""
        while True:
            path, started_s = f"/v1/leases/{lease_id}", time.monotonic()
            answer = await connection.call("DELETE", path, self._service.keys[tenant])
            # A lease that expired before its turn came is gone, which is as good.
            if answer.status == 404:
                return
            self.tally.count("release", tenant, answer, time.monotonic() - started_s)
            if answer.status == 204:
                return
            await asyncio.sleep(0.1)

    def _body(self, kind: str, dice: random.Random) -> bytes:
        bodies: dict[str, Callable[[], object]] = {
            "render": lambda: {"url": self._url(dice, "page"), "format": "text"},
            "extract": lambda: {"url": self._url(dice, "article")},
            "extract html": lambda: {"html": ARTICLE.decode()},
            "pdf": lambda: {"url": self._url(dice, "tables.pdf")},
            "claim": lambda: {
                "hold": {"gpus": dice.randint(1, 2)},
                "take": {"tokens": dice.randint(1, 50)},
                "timeout_s": dice.choice((0, 0.5)),
                "lease_s": LEASE_S,
            },
        }
        if kind == "pdf upload":
            return UPLOAD
        return json.dumps(bodies[kind]()).encode() if kind in bodies else b""

    def _url(self, dice: random.Random, page: str) -> str:
        return f"http://{dice.choice(HOSTS)}:{self._site_port}/{page}"
