"""Putting the frames of one answer together, while trusting none of them.

A document took the worker over, perhaps: what arrives must be in turn, must end, and must not make
the service hold more than an honest answer may have.
"""

from __future__ import annotations

from tidegate.adapters.pdfium.frames import (
    METADATA_NAMES,
    TEXT_BYTES_MAX,
    Done,
    Opened,
    Refused,
    Reply,
    Text,
)
from tidegate.errors import DocumentUnreadable
from tidegate.ports.pdf_reader import PdfDocument


class Assembly:
    """One answer in the making."""

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._pages: list[str] = []
        self._pieces: list[str] = []
        # A character has at least one byte.
        self._chars_left = TEXT_BYTES_MAX

    def add(self, reply: Reply) -> PdfDocument | None:
        """Take the next frame; the document once it is complete.

        Raises:
            DocumentUnreadable: the worker says so. That ends the answer in good order.
            ValueError: no worker of ours would say this now.
        """
        match reply:
            case Refused():
                raise DocumentUnreadable(reply.reason)
            case Opened() if self._opened is None and reply.metadata.keys() <= set(METADATA_NAMES):
                self._opened = reply
            case Text() if self._opened is not None and len(self._pages) < self._opened.page_count:
                self._add_text(reply)
            case Done() if self._opened is not None and self._is_complete(self._opened):
                return PdfDocument(metadata=self._opened.metadata, pages=tuple(self._pages))
            case _:
                raise ValueError(f"{type(reply).__name__} out of turn")
        return None

    def _add_text(self, piece: Text) -> None:
        # An empty piece that ends nothing could be repeated for ever.
        if not piece.text and not piece.ends_page:
            raise ValueError("an empty piece of text")
        self._chars_left -= len(piece.text)
        if self._chars_left < 0:
            raise ValueError("more text than a worker may send")
        self._pieces.append(piece.text)
        if piece.ends_page:
            self._pages.append("".join(self._pieces))
            self._pieces.clear()

    def _is_complete(self, opened: Opened) -> bool:
        return len(self._pages) == opened.page_count
