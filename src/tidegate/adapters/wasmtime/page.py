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

# What WHATWG URL takes off both ends of an address, and out of it.
_ENDS = "".join(map(chr, range(0x21)))
_REMOVED = {ord(character): None for character in "\t\n\r"}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_DROPPED_SCHEMES = frozenset({"javascript:", "data:", "vbscript:"})
_RELATIVE = re.compile(r"((?:\.\./)*)([\w%~-][^:;\\]*)")
_ORIGIN = re.compile(r"https?://[^/?#\[\]\\]+")
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
    return b" ".join(text.split()).decode("utf-8", "ignore").strip(" ")


class Base:
    """The address that the links of a page are seen from."""

    def __init__(self, url: str) -> None:
        self._url = url
        match = _ORIGIN.match(url)
        self._origin = match[0] if match and self._join(".") else None
        # A page repeats its links, and at most 10,000 differ; fewer still are the folders.
        self._known: dict[bytes, str | None] = {}
        self._folders: dict[str, str] = {}

    def absolute(self, href: bytes) -> str | None:
        """Return the whole address, or None for one that leads to no page."""
        if href not in self._known:
            text = href.decode("utf-8", "ignore").strip(_ENDS).translate(_REMOVED)
            self._known[href] = self._quick(text) or self._join(text)
        return self._known[href]

    def _quick(self, href: str) -> str | None:
        """Join what needs no parsing, as most links do. Joining costs more than all the rest."""
        if _ABSOLUTE.fullmatch(href):
            return href
        if self._origin is None or "/." in href.lstrip("./") or "//" in href:
            return None
        if href[:1] == "/":
            return None if href[:2] == "/." else self._origin + href
        match = _RELATIVE.fullmatch(href)
        if match is None:
            return None
        if match[1] not in self._folders:
            self._folders[match[1]] = urljoin(self._url, match[1] + ".")
        return self._folders[match[1]] + match[2]

    def _join(self, href: str) -> str | None:
        scheme = _SCHEME.match(href)
        if scheme and scheme[0].lower() in _DROPPED_SCHEMES:
            return None
        try:
            return urljoin(self._url, href)
        except ValueError:
            return None


def _base(base_url: str | None, records: Iterable[Record]) -> Base:
    base = Base(base_url or "")
    for record in records:
        if record.kind == Kind.BASE:
            url = base.absolute(record.value)
            return Base(url) if url else base
    return base


def _links(raw: RawPage, base: Base, check: Callable[[], None]) -> Iterator[Link]:
    for record in raw.records:
        if record.kind != Kind.LINK:
            continue
        check()
        href = base.absolute(record.value)
        if href is not None:
            stop = min(record.stop, record.start + LINK_TEXT_MAX_BYTES)
            yield Link(href=href, text=_line(record.name or raw.text[record.start : stop]))


def _value(record: Record) -> str:
    return record.value.decode("utf-8", "ignore").strip(WHITE_SPACE)


def _metadata(records: Iterable[Record], base: Base) -> dict[str, str]:
    """Return the first value of each name. What the elements say wins over a meta of that name."""
    named: dict[str, str] = {}
    found: dict[str, str] = {}
    for record in records:
        if record.kind == Kind.META:
            named.setdefault(_line(record.name).lower(), _value(record))
        elif record.kind == Kind.LANG:
            found["lang"] = _value(record)
        elif record.kind == Kind.CANONICAL and (canonical := base.absolute(record.value)):
            found["canonical"] = canonical
    named.pop("", None)
    return named | found


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
