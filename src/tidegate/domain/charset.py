"""Which encoding a page is in, decided as browsers decide, and its text.

A byte order mark wins over the HTTP header, the header over what the page says of itself, and that
over a guess. Only encodings of the web are ever used: Python knows codecs that are none, that
decompress, or that run far too long, and a page may name any of them. Decoding 20 MiB takes tens of
milliseconds: call it from a thread.

Source: WHATWG Encoding, 4.2 (names and labels); WHATWG HTML, 13.2.3.2 (determining the encoding).
"""

from __future__ import annotations

import codecs
import re

from tidegate.domain.charset_labels import CODECS

PRESCAN_BYTES = 1024

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SPACE = b" \t\n\f\r"
_META = re.compile(rb"<meta[ \t\n\f\r/]", re.IGNORECASE)
_TAG = re.compile(rb"</?[a-z][^ \t\n\f\r/>]*", re.IGNORECASE)
# A name, which may begin with "=", and a value: quoted, or bare, or none.
_ATTRIBUTE = re.compile(
    rb"""[ \t\n\f\r/]*(?P<name>[^ \t\n\f\r/>][^ \t\n\f\r/>=]*)"""
    rb"""(?:[ \t\n\f\r]*=[ \t\n\f\r]*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'"""
    rb"""|(?P<bare>[^ \t\n\f\r>"'][^ \t\n\f\r>]*)))?"""
)
_CONTENT_CHARSET = re.compile(
    rb"""charset[ \t\n\f\r]*=[ \t\n\f\r]*(?:"([^"]+)"|'([^']+)'|([^ \t\n\f\r;"']+))""",
    re.IGNORECASE,
)
_XML_ENCODING = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*(?:"([^"]+)"|'([^']+)')""")
# Bytes that windows-1252 leaves undefined stand for the control characters of the same number.
_WINDOWS_1252 = "".join(
    bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256)
)


def codec_of(label: str) -> str | None:
    """Return the codec for a name as pages write it, or None if it names no encoding of the web."""
    return CODECS.get(label.strip(" \t\n\f\r\"'").lower())


def sniff(body: bytes) -> str | None:
    """Return the codec that the first 1024 bytes of the page ask for, or None."""
    head = body[:PRESCAN_BYTES]
    label = _prescan(head)
    if label is None and (match := _XML_ENCODING.match(head)):
        label = match[1] or match[2]
    codec = codec_of(label.decode("latin-1")) if label else None
    # The page was read as ASCII to find this out, so it cannot be UTF-16.
    return "utf-8" if codec in ("utf-16-le", "utf-16-be") else codec


def decode_html(body: bytes, declared: str | None) -> str:
    """Decode a page. Never raises; what cannot be decoded becomes U+FFFD.

    Args:
        body: The page as it came, without a content encoding.
        declared: The charset of the HTTP header, if there was one.
    """
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return _decode(body[len(mark) :], codec)
    codec = codec_of(declared or "") or sniff(body) or _guess(body)
    return _decode(body, codec)


def _guess(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        # A page of UTF-8 that was cut off inside its last character is still UTF-8.
        cut_off = error.reason == "unexpected end of data"
        if not cut_off or body[: error.start].isascii():
            return "windows-1252"
    return "utf-8"


def _decode(body: bytes, codec: str) -> str:
    if codec == "windows-1252":
        return codecs.charmap_decode(body, "replace", _WINDOWS_1252)[0]
    return body.decode(codec, "replace")


def _prescan(head: bytes) -> bytes | None:
    at = head.find(b"<")
    while at >= 0:
        if head.startswith(b"<!--", at):
            end = head.find(b"-->", at + 2)
            at = end + 3 if end >= 0 else len(head)
        elif _META.match(head, at):
            attributes, at = _attributes(head, at + 5)
            label = _meta_charset(attributes)
            if label and codec_of(label.decode("latin-1")):
                return label
        elif tag := _TAG.match(head, at):
            _, at = _attributes(head, tag.end())
        elif head[at + 1 : at + 2] in (b"!", b"/", b"?"):
            end = head.find(b">", at)
            at = end if end >= 0 else len(head)
        else:
            at += 1
        at = head.find(b"<", at)
    return None


def _attributes(head: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """Return the attributes of the tag whose name ends at `at`, first ones first, and its end."""
    found: dict[bytes, bytes] = {}
    while match := _ATTRIBUTE.match(head, at):
        at = match.end()
        value = match["double"] or match["single"] or match["bare"] or b""
        found.setdefault(match["name"].lower(), value)
    return found, at


def _meta_charset(attributes: dict[bytes, bytes]) -> bytes | None:
    if b"charset" in attributes:
        return attributes[b"charset"].strip(_SPACE)
    if attributes.get(b"http-equiv", b"").strip(_SPACE).lower() != b"content-type":
        return None
    match = _CONTENT_CHARSET.search(attributes.get(b"content", b""))
    return match[match.lastindex or 0] if match else None
