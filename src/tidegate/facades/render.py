"""Rendering in pooled browsers; without a usable one, html and text by a plain fetch."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass

from tidegate.errors import BrowserUnavailable, WorkerCrashed
from tidegate.facades.extract import Extraction
from tidegate.facades.pools import Pool
from tidegate.ports.browser import Browser, BrowserLauncher, BrowserReport, PageRequest
from tidegate.ports.egress_guard import EgressGuard

TRIES_MAX = 2
"""A browser can be killed under a page by somebody else's doing, so one retry is fair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What came out. `degraded`: by a plain fetch, no script was run."""

    final_url: str
    status: int
    title: str
    content: bytes
    degraded: bool

    @property
    def size_bytes(self) -> int:
        """The size of the content."""
        return len(self.content)


class Rendering:
    """Renders pages, each in a fresh context of one of a few browsers.

    Args:
        fallback: Answer html and text by a plain fetch where no browser is usable.
    """

    def __init__(
        self,
        pool: Pool[Browser],
        *,
        launcher: BrowserLauncher,
        guard: EgressGuard,
        extraction: Extraction,
        fallback: bool,
    ) -> None:
        self.pool = pool
        self._launcher, self._guard = launcher, guard
        self._extraction = extraction
        self._fallback = fallback
        self._probe: asyncio.Task[BrowserReport] | None = None

    @property
    def report(self) -> BrowserReport | None:
        """What the probe found; None while it is under way."""
        probe = self._probe
        return probe.result() if probe is not None and probe.done() else None

    async def probed(self) -> BrowserReport:
        """Return what the probe found, once it has."""
        assert self._probe is not None, "start before rendering"
        return await asyncio.shield(self._probe)

    async def start(self) -> None:
        """Probe the browser and warm the pool, behind the start of the service."""
        self._probe = asyncio.create_task(self._warm())

    async def stop(self) -> None:
        """End every browser."""
        if self._probe is not None and not self._probe.done():
            self._probe.cancel()
            await asyncio.wait([self._probe])
        await self.pool.stop()
        await self._launcher.stop()

    async def render(self, page: PageRequest, tenant: str, timeout_us: int) -> Rendered:
        """Render one page.

        Raises:
            BrowserUnavailable: no usable browser, and the format needs one.
            WorkTimeout, WorkerCrashed, EgressRefused, UpstreamFailed, UpstreamRejected: see
                `Browser.render` and `Fetcher.fetch`.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_us / 1e6
        report = await self.probed()
        if not report.usable:
            return await self._degraded(page, tenant, timeout_us)
        for attempt in range(1, TRIES_MAX + 1):
            try:
                left_us = max(1, round((deadline_s - loop.time()) * 1e6))
                return await self._render(page, tenant, left_us)
            except WorkerCrashed:
                if attempt == TRIES_MAX:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _render(self, page: PageRequest, tenant: str, timeout_us: int) -> Rendered:
        async with self.pool.lend() as browser:
            with closing(self._guard.open(tenant)) as passage:
                rendered = await browser.render(page, passage, timeout_us=timeout_us)
        return Rendered(
            final_url=rendered.final_url,
            status=rendered.status,
            title=rendered.title,
            content=rendered.content,
            degraded=False,
        )

    async def _degraded(self, page: PageRequest, tenant: str, timeout_us: int) -> Rendered:
        if not self._fallback or page.format not in ("html", "text"):
            raise BrowserUnavailable("there is no usable browser here; /readyz says why")
        fetched = await self._extraction.fetch(page.url, tenant, timeout_us)
        html = await self._extraction.decode(fetched)
        content = await self._extraction.of_html(html, fetched.final_url, timeout_us)
        text = html if page.format == "html" else content.text
        return Rendered(
            final_url=fetched.final_url,
            status=fetched.status,
            title=content.title,
            content=text.encode(),
            degraded=True,
        )

    async def _warm(self) -> BrowserReport:
        report = await self._launcher.probe()
        if report.usable:
            await self.pool.start()
        return report
