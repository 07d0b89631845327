"""The service's own workloads: what each takes, holds and may last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from tidegate.domain.claim import Claim
from tidegate.domain.target import parse_url
from tidegate.errors import InvalidRequest
from tidegate.facades.extract import ExtractedPage, Extraction
from tidegate.facades.pdf import PdfReading
from tidegate.facades.render import Rendered, Rendering
from tidegate.facades.workload import Job, Reply, Workload
from tidegate.ports.browser import BrowserReport, PageRequest
from tidegate.ports.pdf_reader import PdfDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How long work may last, how long a PDF waits for its permit, what a slot may need."""

    render_us: int = 3_000_000
    extract_us: int = 10_000_000
    pdf_us: int = 10_000_000
    pdf_wait_us: int = 10_000_000
    browser_bytes: int = 256 * 2**20
    pdf_bytes: int = 128 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tenant. `answer_key` is its Idempotency-Key."""

    tenant: str
    request_id: str
    answer_key: str | None = None


class Governed:
    """Render, extract and read PDFs under limits."""

    def __init__(
        self,
        workload: Workload,
        *,
        rendering: Rendering,
        extraction: Extraction,
        reading: PdfReading,
        caps: Caps,
    ) -> None:
        self._workload = workload
        self._rendering, self._extraction, self._reading = rendering, extraction, reading
        self.caps = caps

    async def render(
        self,
        call: Call,
        page: PageRequest,
        timeout_s: float | None,
        encode: Callable[[Rendered, float], Reply],
    ) -> Reply:
        """Render a page. Raises what `Workload.run` and `Rendering.render` raise."""
        url, host = _target(page.url)
        # No server sees it, but the page's own scripts may show another view for it.
        _, mark, fragment = page.url.partition("#")
        page = replace(page, url=f"{url}{mark}{fragment}")
        job = self._job(
            call,
            "render",
            repr(page),
            cap_us=self.caps.render_us,
            timeout_s=timeout_s,
            hold={"browsers": 1, "memory": self.caps.browser_bytes},
            host=host,
        )

        async def work(left_us: int) -> Rendered:
            return await self._rendering.render(page, call.tenant, left_us)

        return await self._workload.run(job, work, encode)

    async def extract(
        self,
        call: Call,
        *,
        url: str | None,
        html: str | None,
        timeout_s: float | None,
        encode: Callable[[ExtractedPage, float], Reply],
    ) -> Reply:
        """Extract a page by address, or one that was sent along.

        Raises:
            InvalidRequest: neither or both of `url` and `html`.
            TidegateError: what `Workload.run` and `Extraction` raise.
        """
        if (url is None) == (html is None):
            raise InvalidRequest("url", url, "exactly one of url and html")
        target, host = (None, None) if url is None else _target(url)
        job = self._job(
            call,
            "extract",
            f"{target}\n{html}",
            cap_us=self.caps.extract_us,
            timeout_s=timeout_s,
            hold={"wasm_instances": 1},
            host=host,
        )

        async def work(left_us: int) -> ExtractedPage:
            if target is not None:
                return await self._extraction.of_url(target, call.tenant, left_us)
            assert html is not None
            content = await self._extraction.of_html(html, None, left_us)
            return ExtractedPage(final_url=None, status=None, content=content)

        return await self._workload.run(job, work, encode)

    async def read_pdf(
        self,
        call: Call,
        *,
        url: str | None,
        data: bytes | None,
        timeout_s: float | None,
        encode: Callable[[PdfDocument, float], Reply],
    ) -> Reply:
        """Read a PDF by address, or one that was sent along.

        Raises:
            InvalidRequest: neither or both of `url` and `data`.
            TidegateError: what `Workload.run` and `PdfReading` raise.
        """
        if (url is None) == (data is None):
            raise InvalidRequest("url", url, "exactly one of url and an uploaded file")
        target, host = (None, None) if url is None else _target(url)
        job = self._job(
            call,
            "pdf",
            f"{target}\n{hashlib.sha256(data or b'').hexdigest()}",
            cap_us=self.caps.pdf_us,
            timeout_s=timeout_s,
            hold={"pdf_workers": 1, "memory": self.caps.pdf_bytes},
            host=host,
        )
        job = replace(job, wait_us=self.caps.pdf_wait_us)

        async def work(left_us: int) -> PdfDocument:
            if target is not None:
                return await self._reading.of_url(target, call.tenant, left_us)
            assert data is not None
            return await self._reading.of_bytes(data, left_us)

        return await self._workload.run(job, work, encode)

    async def browser(self) -> BrowserReport:
        """Return what was found when the browser was probed; waits for the probe."""
        return await self._rendering.probed()

    def _job(
        self,
        call: Call,
        operation: str,
        subject: str,
        *,
        cap_us: int,
        timeout_s: float | None,
        hold: dict[str, int],
        host: str | None,
    ) -> Job:
        own_s = cap_us / 1e6 if timeout_s is None else timeout_s
        # Compared before it is rounded: a huge number of seconds has no microseconds.
        if not 1e-6 <= own_s <= cap_us / 1e6:
            raise InvalidRequest("timeout_s", timeout_s, f"> 0 and <= {cap_us / 1e6:g}")
        own_us = round(own_s * 1e6)
        take = {"requests": 1, "operations": 1}
        if host is not None:
            take["host_requests"] = 1
        return Job(
            operation=operation,
            claim=Claim(tenant=call.tenant, host=host, take=take, hold=hold),
            request_id=call.request_id,
            cap_us=own_us,
            full_cap=own_us == cap_us,
            answer_key=call.answer_key,
            digest=hashlib.sha256(f"{operation}\n{subject}".encode()).digest(),
        )


def _target(url: str) -> tuple[str, str]:
    """Return the URL in canonical spelling, and its host. Raises InvalidUrl."""
    target = parse_url(url)
    return target.url, target.host
