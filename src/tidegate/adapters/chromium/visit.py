"""One visit to one page: go there, follow what its scripts do to the top frame, take it down.

Text is read in a world of its own, where the page's scripts can change nothing, and measured
there before it travels: a page may hold more text than we have memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from playwright.async_api import Error

from tidegate.adapters.chromium.verdict import (
    Course,
    failure,
    is_end,
    verdict_of_guard,
)
from tidegate.errors import UpstreamFailed, UpstreamRejected
from tidegate.ports.browser import PageRequest, RenderedPage
from tidegate.ports.egress_guard import MARKER, Passage

if TYPE_CHECKING:
    from playwright.async_api import Download, Page, Request, Response

# As the largest body anywhere in the service.
CONTENT_BYTES_MAX = 20 * 2**20
# A page that goes elsewhere more often while it is read is refused.
_ATTEMPTS_MAX = 5
_PDF_PAGES_MAX = 200
_TITLE_CHARS_MAX = 1000
_READ = """(max, titleMax, format) => {
  const {documentElement: root, doctype} = document;
  const tell = {
    html: () => (doctype ? new XMLSerializer().serializeToString(doctype) : "")
      + (root?.outerHTML ?? ""),
    text: () => document.body?.innerText ?? root?.textContent ?? "",
  }[format];
  const text = tell ? String(tell()) : "";
  return {
    title: String(document.title ?? "").slice(0, titleMax).toWellFormed(),
    text: text.length > max ? null : text.toWellFormed(),
  };
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    title: str
    text: str


class Visit:
    """One page in a context of its own, from its address to its content."""

    def __init__(self, page: Page, request: PageRequest, passage: Passage) -> None:
        self._page, self._request, self._passage = page, request, passage
        self._course = Course(address=request.url)
        self._shown_status = 0
        page.on("request", self._requested)
        page.on("response", self._responded)
        page.on("download", self._downloaded)

    async def render(self) -> RenderedPage:
        """Go to the page and bring back what was asked for.

        Raises:
            EgressRefused, UpstreamFailed, UpstreamRejected: as the port says.
        """
        await self._go()
        for _ in range(_ATTEMPTS_MAX):
            try:
                self._check()
                reading = await self._read()
                content = await self._content(reading)
                self._check()
            except Error as error:
                if is_end(error.message):
                    raise self._failure(error) from error
                await self._settle()
                continue
            return self._rendered(reading, content)
        raise UpstreamFailed(f"{self._request.url} does not stop going elsewhere")

    def _requested(self, request: Request) -> None:
        if self._leads(request):
            self._course = Course(address=request.url)

    def _responded(self, response: Response) -> None:
        if self._leads(response.request):
            self._shown_status = response.status
            marker = response.headers.get(MARKER) if response.url.startswith("http:") else None
            self._course = Course(address=response.url, status=response.status, marker=marker)

    def _downloaded(self, _: Download) -> None:
        self._course = replace(self._course, downloading=True)

    def _leads(self, request: Request) -> bool:
        return request.is_navigation_request() and request.frame == self._page.main_frame

    async def _go(self) -> None:
        try:
            await self._page.goto(self._request.url, wait_until=self._request.wait_until, timeout=0)
        except Error as error:
            # A script that goes elsewhere before the page is complete is no failure.
            if "interrupted by another navigation" not in error.message:
                raise self._failure(error) from error
            await self._settle()

    async def _settle(self) -> None:
        state = self._request.wait_until
        try:
            await self._page.wait_for_load_state(
                "domcontentloaded" if state == "commit" else state, timeout=0
            )
        except Error as error:
            raise self._failure(error) from error

    async def _read(self) -> _Reading:
        session = await self._page.context.new_cdp_session(self._page)
        tree = await session.send("Page.getFrameTree")
        frame = tree["frameTree"]["frame"]["id"]
        world = await session.send("Page.createIsolatedWorld", {"frameId": frame})
        arguments = json.dumps([CONTENT_BYTES_MAX, _TITLE_CHARS_MAX, self._request.format])
        answer = await session.send(
            "Runtime.evaluate",
            {
                "expression": f"({_READ})(...{arguments})",
                "contextId": world["executionContextId"],
                "returnByValue": True,
            },
        )
        return self._parse(answer)

    def _parse(self, answer: dict[str, Any]) -> _Reading:
        value = answer["result"].get("value")
        if value is None:
            raise UpstreamRejected(f"{self._request.url} holds a document that cannot be read")
        if value["text"] is None:
            raise self._too_large()
        return _Reading(title=value["title"], text=value["text"])

    async def _content(self, reading: _Reading) -> bytes:
        match self._request.format:
            case "screenshot":
                content = await self._page.screenshot(type="png", timeout=0)
            case "pdf":
                # Untagged: half the time and a sixth of the size of a tagged one.
                pages = f"1-{_PDF_PAGES_MAX}"
                content = await self._page.pdf(
                    format="A4", print_background=True, page_ranges=pages, tagged=False
                )
            case _:
                content = reading.text.encode()
        if len(content) > CONTENT_BYTES_MAX:
            raise self._too_large()
        return content

    def _check(self) -> None:
        """Refuse what is the guard's or the browser's own error page."""
        guarded = verdict_of_guard(self._course, self._passage.refusals)
        if guarded is not None:
            raise guarded
        if self._page.url.startswith("chrome-error:"):
            raise failure(self._course, "the connection failed", self._passage.refusals)

    def _rendered(self, reading: _Reading, content: bytes) -> RenderedPage:
        return RenderedPage(
            final_url=self._page.url,
            status=self._shown_status,
            title=reading.title,
            content=content,
        )

    def _failure(self, error: Error) -> Exception:
        return failure(self._course, error.message, self._passage.refusals)

    def _too_large(self) -> UpstreamRejected:
        return UpstreamRejected(f"{self._request.url} is larger than {CONTENT_BYTES_MAX} bytes")
