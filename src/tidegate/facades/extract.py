"""Extraction: HTML in, title, text, links and metadata out, each page in an instance of its own."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass

from tidegate.domain.charset import decode_html
from tidegate.facades.pools import Pool
from tidegate.ports.egress_guard import EgressGuard
from tidegate.ports.extractor import Extracted, Extractor
from tidegate.ports.fetcher import Fetched, Fetcher, FetchRequest

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})

LINK_BYTES = 64
"""What a usual link takes in an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedPage:
    """What was extracted, and where from. HTML that was sent along has no URL and no status."""

    final_url: str | None
    status: int | None
    content: Extracted

    @property
    def size_bytes(self) -> int:
        """About the size of text and links."""
        return len(self.content.text) + LINK_BYTES * len(self.content.links)


class Extraction:
    """Fetches pages and extracts them in pooled WASM instances."""

    def __init__(
        self,
        pool: Pool[Extractor],
        *,
        fetcher: Fetcher,
        guard: EgressGuard,
        size_max_bytes: int,
        wasm_cap_us: int,
    ) -> None:
        self.pool = pool
        self._wasm_cap_us = wasm_cap_us
        self._fetcher, self._guard = fetcher, guard
        self._size_max_bytes = size_max_bytes

    async def of_url(self, url: str, tenant: str, timeout_us: int) -> ExtractedPage:
        """Fetch a page and extract it. Raises what `Fetcher.fetch` and `of_html` raise."""
        deadline_s = asyncio.get_running_loop().time() + timeout_us / 1e6
        page = await self.fetch(url, tenant, timeout_us)
        html = await self.decode(page)
        content = await self.of_html(html, page.final_url, _left_us(deadline_s))
        return ExtractedPage(final_url=page.final_url, status=page.status, content=content)

    async def of_html(self, html: str, base_url: str | None, timeout_us: int) -> Extracted:
        """Extract a page that is here already. Raises what `Extractor.extract` raises."""
        cap_us = min(timeout_us, self._wasm_cap_us)
        async with self.pool.lend() as extractor:
            return await extractor.extract(html, base_url=base_url, timeout_us=cap_us)

    async def fetch(self, url: str, tenant: str, timeout_us: int) -> Fetched:
        """Fetch an HTML page through the guard. Raises what `Fetcher.fetch` raises."""
        request = FetchRequest(url=url, media_types=HTML_TYPES, size_max_bytes=self._size_max_bytes)
        with closing(self._guard.open(tenant)) as passage:
            return await self._fetcher.fetch(request, passage, timeout_us=timeout_us)

    async def decode(self, page: Fetched) -> str:
        """Decode a fetched page as it declares itself; large pages do so in a thread."""
        return await asyncio.to_thread(decode_html, page.body, page.charset)


def _left_us(deadline_s: float) -> int:
    return max(1, round((deadline_s - asyncio.get_running_loop().time()) * 1e6))
