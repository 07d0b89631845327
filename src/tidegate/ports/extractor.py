"""One isolated instance that turns HTML into title, text, links and metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tidegate.ports.pooled import Pooled


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An anchor. `href` is absolute where a base URL was known."""

    href: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What a page says. `metadata` maps names such as `description` or `og:title` to text."""

    title: str
    text: str
    links: tuple[Link, ...]
    metadata: dict[str, str]


class Extractor(Pooled, Protocol):
    """A WASM instance with a memory cap and a deadline; a fresh store for each page."""

    async def extract(self, html: str, *, base_url: str | None, timeout_us: int) -> Extracted:
        """Extract one page without blocking the event loop.

        Any text gives a result: broken markup is read as browsers read it, as far as it goes.

        Raises:
            WorkTimeout: not done within `timeout_us`; the instance stays usable.
            DocumentUnreadable: the page needs more memory than the instance may have.
            WorkerCrashed: the instance trapped; it serves no more jobs.
        """
        ...
