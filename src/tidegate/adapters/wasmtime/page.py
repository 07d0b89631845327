"""From the sandbox's records to what a page says: absolute links, a title, decoded text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urljoin

from tidegate.adapters.wasmtime.layout import Kind, RawPage, Record
from tidegate.ports.extractor import Extracted, Link

# Long texts are coded in pieces: between two of them other threads get the interpreter lock.
PIECE = 1 << 20
LINK_TEXT_MAX_BYTES = 4096
WHITE_SPACE = " \t\n\r\f"

# What WHATWG URL takes off both ends of an address.
_ENDS = "".join(map(chr, range(0x21)))
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_DROPPED_SCHEMES = frozenset({"javascript:", "data:", "vbscript:"})
# Addresses that joining would not change: most links are such, and joining is slow.
_ABSOLUTE = re.compile(r"https?://[^/?#\[\]\\][^\[\]\\]*")


def encode(html: str) -> Iterator[bytes]:
    """Return the document as UTF-8 in pieces. A lone surrogate becomes a replacement character."""
    for at in range(0, len(html), PIECE):
        piece = html[at : at + PIECE]
        try:
            yield piece.encode()
        except UnicodeEncodeError:
            yield piece.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _decode(text: bytes) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(text[at : at + PIECE]) for at in range(0, len(text), PIECE)]
    return "".join(pieces) + decoder.decode(b"", final=True)


def _line(text: bytes) -> str:
    """Return the text on one line. A character cut in two at the end vanishes."""
    return b" ".join(text.split()).decode("utf-8", "ignore")


def _clean(href: bytes) -> str:
    text = href.decode("utf-8", "ignore").strip(_ENDS)
    return text.translate({9: None, 10: None, 13: None})


def absolute(href: str, base: str) -> str | None:
    """Return the address as seen from `base`, or None for one that leads to no page."""
    if _ABSOLUTE.fullmatch(href):
        return href
    scheme = _SCHEME.match(href)
    if scheme and scheme[0].lower() in _DROPPED_SCHEMES:
        return None
    try:
        return urljoin(base, href)
    except ValueError:
        return None


def _base(base_url: str | None, records: Iterable[Record]) -> str:
    base = base_url or ""
    for record in records:
        if record.kind == Kind.BASE:
            return absolute(_clean(record.value), base) or base
    return base


def _links(raw: RawPage, base: str, check: Callable[[], None]) -> Iterator[Link]:
    for record in raw.records:
        if record.kind != Kind.LINK:
            continue
        check()
        href = absolute(_clean(record.value), base)
        if href is not None:
            stop = min(record.stop, record.start + LINK_TEXT_MAX_BYTES)
            yield Link(href=href, text=_line(record.name or raw.text[record.start : stop]))


def _metadata(records: Iterable[Record], base: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for record in records:
        value = record.value.decode("utf-8", "ignore").strip(WHITE_SPACE)
        if record.kind == Kind.LANG:
            found["lang"] = value
        elif record.kind == Kind.CANONICAL:
            canonical = absolute(_clean(record.value), base)
            if canonical:
                found["canonical"] = canonical
    for record in records:
        if record.kind == Kind.META:
            name = _line(record.name).lower()
            found.setdefault(name, record.value.decode("utf-8", "ignore").strip(WHITE_SPACE))
    found.pop("", None)
    return found


def _title(raw: RawPage, metadata: dict[str, str]) -> str:
    first = {record.kind: record for record in reversed(raw.records)}
    title = _line(first[Kind.TITLE].value) if Kind.TITLE in first else ""
    if title or metadata.get("og:title"):
        return title or metadata["og:title"]
    heading = first.get(Kind.HEADING)
    return _line(raw.text[heading.start : heading.stop]) if heading else ""


def assemble(raw: RawPage, *, base_url: str | None, check: Callable[[], None]) -> Extracted:
    """Turn what the sandbox found into what the caller gets.

    Args:
        raw: As the sandbox left it.
        base_url: Where the page came from, if that is known.
        check: Called between steps; raises when the call has to end.
    """
    base = _base(base_url, raw.records)
    metadata = _metadata(raw.records, base)
    links = tuple(_links(raw, base, check))
    text = _decode(raw.text).strip(WHITE_SPACE)
    check()
    return Extracted(title=_title(raw, metadata), text=text, links=links, metadata=metadata)
