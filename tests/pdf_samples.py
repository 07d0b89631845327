"""PDFs for tests, written as plain objects: pages of text, and files that are meant to hurt."""

from __future__ import annotations

import zlib

FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def document(objects: list[bytes], trailer: bytes = b"") -> bytes:
    """The objects, numbered from 1, object 1 being the catalog."""
    out, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + text + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size, start = len(objects) + 1, len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size + table
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (size, trailer)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def stream(body: bytes, head: bytes = b"") -> bytes:
    """A stream object, `head` being further entries of its dictionary."""
    return b"<< %s /Length %d >>\nstream\n" % (head, len(body)) + body + b"\nendstream"


def pages(
    content: bytes,
    *,
    kids: int = 1,
    count: int | None = None,
    trailer: bytes = b"",
    font: bytes = FONT,
    more: tuple[bytes, ...] = (),
) -> bytes:
    """`kids` pages with this content; `count` is how many the file claims, `more` follows as 6."""
    return document(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b"3 0 R " * kids, count or kids),
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
            b"/Resources << /Font << /F 5 0 R >> /XObject << /X 6 0 R >> >> >>",
            content,
            font,
            *more,
        ],
        trailer,
    )


def says(text: bytes, *, trailer: bytes = b"") -> bytes:
    """One page that shows this text."""
    return pages(stream(b"BT /F 12 Tf 72 700 Td (%s) Tj ET" % text), trailer=trailer)


def mapped(codes: dict[str, str], text: bytes) -> bytes:
    """One page whose font says which UTF-16 code units (hex) each letter stands for."""
    pairs = b"".join(b"<%02x> <%s> " % (ord(key), value.encode()) for key, value in codes.items())
    table = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        b"1 begincodespacerange <00> <ff> endcodespacerange\n"
        b"%d beginbfchar %s endbfchar endcmap end end" % (len(codes), pairs)
    )
    font = FONT[:-3] + b" /ToUnicode 6 0 R >>"
    content = stream(b"BT /F 12 Tf 72 700 Td (%s) Tj ET" % text)
    return pages(content, font=font, more=(stream(table),))


def encrypted() -> bytes:
    """A PDF that needs a password (standard handler, revision 2), which nobody knows."""
    key = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>]"
    return says(b"secret", trailer=key % (b"ab" * 32, b"cd" * 32))


def slow() -> bytes:
    """2,000 pages that take about 50 ms each: forms within forms, ten times ten times ten ..."""
    levels = []
    for level in range(4):
        content = b"BT /F 9 Tf (a) Tj ET" if level == 3 else b"/X Do " * 10
        inner = b"/XObject << /X %d 0 R >>" % (7 + level)
        resources = b"/Font << /F 5 0 R >> %s" % (b"" if level == 3 else inner)
        head = b"/Type /XObject /Subtype /Form /BBox [0 0 600 600] /Resources << %s >>"
        levels.append(stream(content, head % resources))
    return pages(stream(b"/X Do " * 10), kids=2_000, more=tuple(levels))


def bomb() -> bytes:
    """100 KB that pdfium turns into gigabytes: four million text objects on one page."""
    content = b"BT /F 1 Tf " + b"(x) Tj 0 1 Td " * 4_000_000 + b"ET"
    return pages(stream(zlib.compress(content), b"/Filter /FlateDecode"))
