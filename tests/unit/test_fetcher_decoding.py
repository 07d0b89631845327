"""Compressed answers are unpacked exactly, or refused before they cost anything."""

from __future__ import annotations

import gzip
import os
import zlib

import pytest

from tidegate.adapters.web.decoding import MEMBERS_MAX, STEP_BYTES, Decoder
from tidegate.adapters.web.media import declared, sniffed
from tidegate.errors import UpstreamFailed, UpstreamRejected

LIMIT_BYTES = 2 * 2**20
TEXT = b"tide " * 1000 + os.urandom(1000)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def unpack(header: str, data: bytes, *, piece_bytes: int = 1 << 30) -> bytes:
    decoder = Decoder(header, size_max_bytes=LIMIT_BYTES)
    out = bytearray()
    for start in range(0, len(data), piece_bytes):
        for piece in decoder.feed(data[start : start + piece_bytes]):
            assert len(piece) <= max(STEP_BYTES, len(data))
            out += piece
    decoder.finish()
    return bytes(out)


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 30])
@pytest.mark.parametrize(
    ("header", "data", "expected"),
    [
        ("", TEXT, TEXT),
        ("identity", TEXT, TEXT),
        ("gzip", gzip.compress(TEXT), TEXT),
        ("X-GZip", gzip.compress(TEXT), TEXT),
        ("deflate", zlib.compress(TEXT), TEXT),
        ("deflate", raw_deflate(TEXT), TEXT),
        ("gzip", b"", b""),
        ("gzip", gzip.compress(b""), b""),
        ("gzip", gzip.compress(b"a") + gzip.compress(b"b"), b"ab"),
        ("gzip", gzip.compress(TEXT) + b"\0" * 10, TEXT),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT)), TEXT),
        ("gzip, identity, gzip", gzip.compress(gzip.compress(TEXT)), TEXT),
    ],
)
def test_unpacks(header: str, data: bytes, expected: bytes, piece_bytes: int) -> None:
    assert unpack(header, data, piece_bytes=piece_bytes) == expected


@pytest.mark.parametrize("size_bytes", [STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, LIMIT_BYTES])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_nothing_is_lost_at_the_edge_of_a_step(pack: object, size_bytes: int) -> None:
    assert callable(pack)
    body = b"\0" * size_bytes
    assert unpack("gzip", pack(body)) == body


BOMB = gzip.compress(b"\0" * (LIMIT_BYTES + 1))


@pytest.mark.parametrize(
    ("header", "data", "error", "reason"),
    [
        ("br", b"x", UpstreamRejected, "encoded as 'br'"),
        ("gzip, zstd", b"x", UpstreamRejected, "encoded as 'zstd'"),
        ("gzip, gzip, gzip", b"x", UpstreamRejected, "encoded 3 times"),
        ("gzip", BOMB, UpstreamRejected, "unpacks to more than"),
        ("gzip, gzip", gzip.compress(BOMB), UpstreamRejected, "unpacks to more than"),
        ("gzip", gzip.compress(b"") * (MEMBERS_MAX + 1), UpstreamRejected, "gzip members"),
        ("gzip", b"<html>plain after all", UpstreamFailed, "not compressed the way"),
        ("gzip", gzip.compress(TEXT)[:-9], UpstreamFailed, "ends early"),
        ("gzip", gzip.compress(TEXT)[:-8] + b"12345678", UpstreamFailed, "not compressed"),
        ("gzip", b"\x1f", UpstreamFailed, "ends early"),
        ("deflate", zlib.compress(TEXT)[:-1], UpstreamFailed, "ends early"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [11, 1 << 30])
def test_refuses(
    header: str, data: bytes, error: type[Exception], reason: str, piece_bytes: int
) -> None:
    with pytest.raises(error, match=reason):
        unpack(header, data, piece_bytes=piece_bytes)


def test_a_bomb_goes_off_one_step_behind_the_limit() -> None:
    packer = zlib.compressobj(level=9, wbits=31)
    bomb = b"".join(packer.compress(b"\0" * 2**20) for _ in range(64)) + packer.flush()
    decoder = Decoder("gzip", size_max_bytes=LIMIT_BYTES)
    unpacked_bytes = 0
    with pytest.raises(UpstreamRejected):
        for piece in decoder.feed(bomb):
            unpacked_bytes += len(piece)
    assert unpacked_bytes <= LIMIT_BYTES


@pytest.mark.parametrize(
    ("header", "media_type", "charset"),
    [
        ("", None, None),
        ("text/html", "text/html", None),
        ("Text/HTML; Charset=UTF-8", "text/html", "utf-8"),
        ('text/html;charset="iso-8859-1"; x=y', "text/html", "iso-8859-1"),
        ("text/html; x=y ; charset = 'utf-8'", "text/html", "utf-8"),
        ("text/html; charset=", "text/html", None),
        ("application/xhtml+xml", "application/xhtml+xml", None),
        ("html", None, None),
        ("text/html, text/plain", None, None),
        ("; charset=utf-8", None, "utf-8"),
        ("te xt/html", None, None),
    ],
)
def test_content_types(header: str, media_type: str | None, charset: str | None) -> None:
    assert declared(header) == (media_type, charset)


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (b"%PDF-1.7", "application/pdf"),
        (b"<!doctype html>", "text/html"),
        (b"\xef\xbb\xbf \r\n\t<p>", "text/html"),
        (b"", "application/octet-stream"),
        (b"plain < text", "application/octet-stream"),
        (b" " * 600 + b"<p>", "application/octet-stream"),
    ],
)
def test_guesses(start: bytes, media_type: str) -> None:
    assert sniffed(start) == media_type
