"""Fetches one URL for a tenant: one connection per hop, through the egress guard, bounded.

Each redirect is a new decision of the guard. Nothing is shared between fetches, and nothing is
remembered within one: no connection, no cookie.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import h11

from tidegate.adapters.web.client import Answer, BrokenOff, TunnelDenied, get
from tidegate.adapters.web.decoding import STEP_BYTES, Decoder
from tidegate.adapters.web.failures import explain, verdict_of_guard
from tidegate.adapters.web.media import declared, sniffed
from tidegate.domain.target import Target, parse_url
from tidegate.errors import EgressRefused, InvalidUrl, UpstreamFailed, UpstreamRejected, WorkTimeout
from tidegate.ports.egress_guard import Passage
from tidegate.ports.fetcher import Fetched, FetchRequest

REDIRECTS_MAX = 10

RAW_EXTRA_BYTES = 64 * 1024
"""How much longer than its content a body may be on the wire: compression can add a little."""

REDIRECTS = frozenset((301, 302, 303, 307, 308))


class HttpFetcher:
    """`Fetcher` on h11. Without `ssl_context`, trusts the authorities that the system trusts."""

    def __init__(self, user_agent: str, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._user_agent = user_agent
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._deadlines: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def fetch(self, request: FetchRequest, passage: Passage, *, timeout_us: int) -> Fetched:
        """GET the URL through `passage`, following at most ten redirects.

        Raises:
            InvalidUrl: the URL is none that can be fetched.
            EgressRefused: the address, or one it redirected to, may not be reached.
            WorkTimeout: not complete within `timeout_us`.
            UpstreamFailed: no connection, TLS failure, broken off, not HTTP, too many redirects.
            UpstreamRejected: a type, size or encoding that is not read.
        """
        target = parse_url(request.url)
        try:
            async with self._deadline(timeout_us):
                for _ in range(REDIRECTS_MAX + 1):
                    outcome = await self._hop(target, request, passage)
                    if isinstance(outcome, Fetched):
                        return outcome
                    target = outcome
        except TimeoutError:
            if self._closed:
                raise UpstreamFailed("the fetcher was closed") from None
            raise WorkTimeout("fetch", timeout_us) from None
        raise UpstreamFailed(f"{target.host} redirects more than {REDIRECTS_MAX} times")

    async def close(self) -> None:
        """Let go of every connection. Idempotent."""
        self._closed = True
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())
        await self._idle.wait()

    @asynccontextmanager
    async def _deadline(self, timeout_us: int) -> AsyncIterator[None]:
        async with asyncio.timeout(0 if self._closed else timeout_us / 1e6) as deadline:
            self._deadlines.add(deadline)
            self._idle.clear()
            try:
                yield
            finally:
                self._deadlines.discard(deadline)
                if not self._deadlines:
                    self._idle.set()

    async def _hop(
        self, target: Target, request: FetchRequest, passage: Passage
    ) -> Fetched | Target:
        """Ask once. Return the answer, or where it redirects to."""
        headers = {
            "User-Agent": self._user_agent,
            "Accept": ", ".join([*sorted(request.media_types), "*/*;q=0.1"]),
            "Accept-Encoding": "gzip, deflate",
        }
        before = len(passage.refusals)
        try:
            async with get(target, headers, passage, self._ssl_context) as answer:
                verdict_of_guard(target, answer, passage.refusals[before:])
                location = answer.header(b"location")
                if answer.status in REDIRECTS and location:
                    return _redirect(target, location)
                return await _read(target, answer, request)
        except (TunnelDenied, BrokenOff, h11.RemoteProtocolError, OSError) as error:
            raise explain(target, error, passage.refusals[before:]) from error


def _redirect(target: Target, location: str) -> Target:
    # Servers do send spaces; everything else that is no URL is theirs to mend.
    url = urljoin(target.url, location.strip().replace(" ", "%20"))
    try:
        return parse_url(url)
    except InvalidUrl as error:
        scheme = url.partition(":")[0].lower()
        if scheme not in {"http", "https"}:
            raise EgressRefused(url[:200], "only http and https are fetched") from error
        raise UpstreamFailed(f"{target.host} redirects to what is not {error.allowed}") from error


async def _read(target: Target, answer: Answer, request: FetchRequest) -> Fetched:
    media_type, charset = declared(answer.header(b"content-type"))
    if media_type is not None:
        _check_type(media_type, answer.status, request.media_types)
    body = await _body(answer, request.size_max_bytes)
    if media_type is None:
        media_type = sniffed(body)
        _check_type(media_type, answer.status, request.media_types)
    return Fetched(
        final_url=target.url,
        status=answer.status,
        media_type=media_type,
        charset=charset,
        body=body,
    )


def _check_type(media_type: str, status: int, allowed: frozenset[str]) -> None:
    if media_type not in allowed:
        wanted = " or ".join(sorted(allowed))
        raise UpstreamRejected(f"the answer ({status}) is {media_type}, not {wanted}")


async def _body(answer: Answer, size_max_bytes: int) -> bytes:
    too_large = UpstreamRejected(f"the answer is larger than {size_max_bytes} bytes")
    raw_max_bytes = size_max_bytes + RAW_EXTRA_BYTES
    decoder = Decoder(answer.header(b"content-encoding"), size_max_bytes=size_max_bytes)
    if int(answer.header(b"content-length") or 0) > raw_max_bytes:
        raise too_large
    body = bytearray()
    raw_bytes = 0
    async for raw in answer.body():
        raw_bytes += len(raw)
        if raw_bytes > raw_max_bytes:
            raise too_large
        for piece in decoder.feed(raw):
            body += piece
            if len(body) > size_max_bytes:
                raise too_large
            if len(piece) == STEP_BYTES:
                await asyncio.sleep(0)
    decoder.finish()
    return bytes(body)
