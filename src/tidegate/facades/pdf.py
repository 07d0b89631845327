"""Reading PDFs in worker processes."""

from __future__ import annotations

import asyncio
from contextlib import closing

from tidegate.facades.pools import Pool
from tidegate.ports.egress_guard import EgressGuard
from tidegate.ports.fetcher import Fetcher, FetchRequest
from tidegate.ports.pdf_reader import PdfDocument, PdfReader

PDF_TYPES = frozenset({"application/pdf", "application/x-pdf", "application/octet-stream"})
"""Many servers send files as octets; the reader tells at once whether it is a PDF."""


class PdfReading:
    """Fetches PDFs and reads them in pooled worker processes."""

    def __init__(
        self,
        pool: Pool[PdfReader],
        *,
        fetcher: Fetcher,
        guard: EgressGuard,
        size_max_bytes: int,
    ) -> None:
        self.pool = pool
        self._fetcher, self._guard = fetcher, guard
        self._size_max_bytes = size_max_bytes

    async def of_url(self, url: str, tenant: str, timeout_us: int) -> PdfDocument:
        """Fetch a document and read it. Raises what `Fetcher.fetch` and `of_bytes` raise."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_us / 1e6
        request = FetchRequest(url=url, media_types=PDF_TYPES, size_max_bytes=self._size_max_bytes)
        with closing(self._guard.open(tenant)) as passage:
            fetched = await self._fetcher.fetch(request, passage, timeout_us=timeout_us)
        return await self.of_bytes(fetched.body, max(1, round((deadline_s - loop.time()) * 1e6)))

    async def of_bytes(self, data: bytes, timeout_us: int) -> PdfDocument:
        """Read a document that is here already. Raises what `PdfReader.read` raises."""
        async with self.pool.lend() as reader:
            return await reader.read(data, timeout_us=timeout_us)
