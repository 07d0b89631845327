"""One sandboxed browser that renders one untrusted page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from tidegate.ports.egress_guard import Passage
from tidegate.ports.pooled import Pooled

RenderFormat = Literal["html", "text", "screenshot", "pdf"]
WaitUntil = Literal["load", "domcontentloaded", "networkidle", "commit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """What to render. `width_px` and `height_px` are the viewport."""

    url: str
    format: RenderFormat = "html"
    wait_until: WaitUntil = "load"
    width_px: int = 1280
    height_px: int = 720


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """What came out. `content` is UTF-8 for html and text, PNG or PDF bytes otherwise."""

    final_url: str
    status: int
    title: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserReport:
    """What was found when the browser was probed, for health and for the operator.

    `usable` False means render must degrade; `reason` then says why in one sentence.
    """

    usable: bool
    path: str | None
    version: str | None
    sandboxed: bool
    reason: str | None


class Browser(Pooled, Protocol):
    """A running browser: one main process, a fresh context for each page."""

    @property
    def pid(self) -> int:
        """Process id of the main process, the one without a `--type=` argument."""
        ...

    async def render(self, page: PageRequest, passage: Passage, *, timeout_us: int) -> RenderedPage:
        """Render one page in a context of its own, which is gone when this returns or raises.

        All traffic goes through `passage`. Cancellation closes the context at once.

        Raises:
            WorkTimeout: not done within `timeout_us`; the context was closed.
            WorkerCrashed: the browser or the page's renderer died. A retry may help.
            EgressRefused: the page's own address, or a redirect of it, may not be reached.
            UpstreamFailed: the address did not answer or broke off.
        """
        ...


class BrowserLauncher(Protocol):
    """Starts sandboxed browsers. One per process."""

    async def probe(self) -> BrowserReport:
        """Find a binary, render `about:blank` in a sandbox and say what was found. Never raises."""
        ...

    async def launch(self) -> Browser:
        """Start one browser.

        Raises:
            BrowserUnavailable: no usable binary or sandbox, or it did not come up within 10 s.
        """
        ...

    async def stop(self) -> None:
        """End every browser and helper process this launcher started. Idempotent."""
        ...
