"""A fetcher, a site, and the guard between them."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from tests.integration.remote import CERTIFICATE, PATIENCE_S, Behave, Remote, guarding, serving
from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.adapters.web.fetcher import HttpFetcher
from tidegate.adapters.web.passage import EgressLimits, GuardedPassage
from tidegate.ports.fetcher import Fetched, FetchRequest

HTML = "Content-Type: text/html; charset=UTF-8"
GZIP = "Content-Encoding: gzip"
MIB = 2**20
PATIENCE_US = int(PATIENCE_S * 1e6)


@cache
def fetcher_that_trusts_the_test() -> HttpFetcher:
    return HttpFetcher(
        "tidegate-test/1.0", ssl_context=ssl.create_default_context(cafile=CERTIFICATE)
    )


async def fetch(
    url: str,
    passage: GuardedPassage,
    *,
    types: tuple[str, ...] = ("text/html",),
    size_max_bytes: int = MIB,
    timeout_us: int = PATIENCE_US,
) -> Fetched:
    request = FetchRequest(url=url, media_types=frozenset(types), size_max_bytes=size_max_bytes)
    fetcher = fetcher_that_trusts_the_test()
    return await fetcher.fetch(request, passage, timeout_us=timeout_us)


@asynccontextmanager
async def site(
    answers: dict[str, bytes | Behave], *, tls: bool = False, limits: EgressLimits | None = None
) -> AsyncIterator[tuple[Remote, str, FilteringProxy]]:
    """A remote server, its address, and a guard that lets through to it alone."""
    async with serving(answers, tls=tls) as remote:
        place = f"127.0.0.1:{remote.port}"
        async with guarding(place, limits=limits, resolve=lambda _: ["127.0.0.1"]) as guard:
            yield remote, f"{'https' if tls else 'http'}://{place}", guard


def bomb(*, mebibytes: int) -> bytes:
    packer = zlib.compressobj(level=9, wbits=31)
    packed = b"".join(packer.compress(b"\0" * MIB) for _ in range(mebibytes))
    return packed + packer.flush()
