"""A site on several hosts of this machine: a page with a script, an article, a document."""

from __future__ import annotations

import asyncio
import contextlib
import zlib

HOSTS = tuple(f"127.0.0.{number}" for number in range(2, 7))

PARAGRAPH = "<p>The tide comes in twice a day, and a gate decides how much of it may pass.</p>"
PAGE = f"""<!doctype html><html><head><title>Loading</title>
<link rel="stylesheet" href="/style.css"></head><body>{PARAGRAPH}
<script>document.title = "Done " + (6 * 7)</script></body></html>""".encode()
ARTICLE = (
    "<!doctype html><html><head><title>Tides</title></head><body><nav><a href='/'>home</a></nav>"
    f"<article><h1>Tides</h1>{PARAGRAPH * 60}<a href='/page'>page</a></article></body></html>"
).encode()
STYLE = b"body { font-family: sans-serif; color: #123 }"


def pdf(pages: int = 3) -> bytes:
    """A document with a line of text on each page."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(pages))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (pages, kids),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number in range(pages):
        text = zlib.compress(b"BT /F 12 Tf 72 700 Td (Page %d of the tide tables) Tj ET" % number)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F 3 0 R >> >> >>" % (5 + 2 * number)
        )
        head = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(text)
        objects.append(head + text + b"\nendstream")
    out, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start, size = len(out), len(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    return bytes(
        out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (size, start)
    )


DOCUMENT = pdf()
ANSWERS = {
    b"/page": (b"text/html", PAGE),
    b"/article": (b"text/html; charset=utf-8", ARTICLE),
    b"/style.css": (b"text/css", STYLE),
    b"/tables.pdf": (b"application/pdf", DOCUMENT),
}


class Site:
    """The same pages on every host of `HOSTS`, on one port."""

    def __init__(self) -> None:
        self.port = 0
        self.requests = 0
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        for host in HOSTS:
            server = await asyncio.start_server(self._serve, host, self.port, backlog=1024)
            self.port = self.port or server.sockets[0].getsockname()[1]
            self._servers.append(server)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            kind, body = ANSWERS.get(head.split(b" ", 2)[1], (b"text/plain", b"nothing here"))
            status = b"200 OK" if kind != b"text/plain" else b"404 Not Found"
            writer.write(
                b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%s" % (status, kind, len(body), body)
            )
            await writer.drain()
        writer.close()
