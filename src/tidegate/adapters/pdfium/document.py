"""Page texts and document information of one PDF, read by pdfium. Runs in the worker only.

pdfium is not thread-safe and parses hostile files in C++; both are why this has a process of its
own. Every handle is closed at once, so one long document does not hold all its pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from tidegate.adapters.pdfium.frames import (
    METADATA_CHARS_MAX,
    METADATA_NAMES,
    PAGES_MAX,
    TEXT_BYTES_MAX,
)
from tidegate.errors import DocumentUnreadable

_REASONS = {
    pdfium_c.FPDF_ERR_PASSWORD: "the document is encrypted with a password",
    pdfium_c.FPDF_ERR_SECURITY: "the document is encrypted in a way that is not supported",
    pdfium_c.FPDF_ERR_FORMAT: "the document is not a PDF, or damaged beyond reading",
}

# pdfium marks a hyphen at the end of a line with U+FFFE and joins the word; U+FFFF and unpaired
# surrogates are no text either. Of the control characters only tab and line feed carry meaning.
_NOISE = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LINE_ENDS = re.compile(r"\r\n|[\r\f\x85\u2028\u2029]")


def normalise(text: str) -> str:
    """The text with line feeds as the only line ends and without what is not text."""
    return _NOISE.sub("", _LINE_ENDS.sub("\n", text))


class Document:
    """An open PDF. Close it, also after an error.

    Raises:
        DocumentUnreadable: broken, encrypted, or more than `PAGES_MAX` pages.
    """

    def __init__(self, data: bytes) -> None:
        # The helper of pypdfium2 reads a stale error, and leaks, for a file without pages.
        handle = pdfium_c.FPDF_LoadMemDocument64(data, len(data), None)
        if not handle:
            reason = _REASONS.get(pdfium_c.FPDF_GetLastError(), "the document cannot be opened")
            raise DocumentUnreadable(reason)
        self._data = data  # pdfium reads from it until the end.
        self._pdf = pdfium.PdfDocument(handle)
        self.page_count = len(self._pdf)
        if not 1 <= self.page_count <= PAGES_MAX:
            self.close()
            raise DocumentUnreadable(
                f"the document has {self.page_count:,} pages, 1 to {PAGES_MAX:,} are read"
            )

    def close(self) -> None:
        """Give the memory back."""
        self._pdf.close()

    def metadata(self) -> dict[str, str]:
        """The document information that is there, without empty values."""
        values = {name: self._metadata_value(name) for name in METADATA_NAMES}
        return {name: value for name, value in values.items() if value}

    def _metadata_value(self, name: str) -> str:
        try:
            value = self._pdf.get_metadata_value(name)
        except UnicodeDecodeError:
            return ""
        return normalise(value).strip()[:METADATA_CHARS_MAX]

    def texts(self) -> Iterator[str]:
        """The text of each page, first page first.

        Raises:
            DocumentUnreadable: a page is damaged, or all text is more than `TEXT_BYTES_MAX`.
        """
        bytes_left = TEXT_BYTES_MAX
        for number in range(1, self.page_count + 1):
            text = self._text(number, chars_max=bytes_left)
            bytes_left -= len(text.encode())
            if bytes_left < 0:
                raise _too_much_text()
            yield text

    def _text(self, number: int, *, chars_max: int) -> str:
        try:
            page = self._pdf[number - 1]
        except pdfium.PdfiumError:
            raise DocumentUnreadable(f"page {number} of the document is damaged") from None
        try:
            textpage = page.get_textpage()
            if textpage.count_chars() > chars_max:
                raise _too_much_text()
            return normalise(textpage.get_text_range())
        except pdfium.PdfiumError:
            raise DocumentUnreadable(f"page {number} of the document has no text layer") from None
        finally:
            # Closes its text page, too.
            page.close()


def _too_much_text() -> DocumentUnreadable:
    return DocumentUnreadable(
        f"the document has more text than the {TEXT_BYTES_MAX // 2**20} MiB that are read"
    )
