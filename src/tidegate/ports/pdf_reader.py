"""One worker process that reads PDFs, so that a hostile file kills nothing but the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tidegate.ports.pooled import Pooled


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfDocument:
    """What a PDF says: `pages` holds the text of each page, first page first.

    `metadata` maps the document information names (`Title`, `Author`, ...) to text.
    """

    metadata: dict[str, str]
    pages: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """About the size of the text."""
        return sum(map(len, self.pages))


class PdfReader(Pooled, Protocol):
    """A process of its own with limits on memory and CPU time."""

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        ...

    async def read(self, data: bytes, *, timeout_us: int) -> PdfDocument:
        """Read one document.

        Raises:
            DocumentUnreadable: not a PDF, damaged beyond reading, or encrypted with a password.
            WorkTimeout: not done within `timeout_us`; the worker was killed.
            WorkerCrashed: the worker died on it.
        """
        ...
