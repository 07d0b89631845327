"""The messages of Envoy's rate limit service, read from and written as protocol buffers.

Written out by hand: of the interface a dozen fields are used, and a generated module would need
the protobuf library to hold them. Fields that are not known are passed over, as the format asks.

Source: Envoy API, service/ratelimit/v3/rls.proto and extensions/common/ratelimit/v3; Protocol
Buffers, "Encoding", for the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

OK, OVER_LIMIT = 1, 2
UNITS = {1: 1, 60: 2, 3_600: 3, 86_400: 4, 604_800: 7}
"""Seconds of a window to the enumeration's number; other windows have none."""

_SMALL = [bytes((value,)) for value in range(0x80)]
"""Nearly every number of a message."""


class Unreadable(ValueError):
    """These bytes are no such message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a limit may be chosen by, in order. `hits` is None where the request's own count."""

    entries: tuple[tuple[str, str], ...]
    hits: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitRequest:
    """What Envoy asks. `hits` is 1 where it says nothing."""

    domain: str
    descriptors: tuple[Descriptor, ...]
    hits: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorStatus:
    """How one descriptor stands; `units` 0 names no limit."""

    code: int = OK
    name: str = ""
    units: int = 0
    window_s: int = 0
    remaining: int = 0
    reset_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitResponse:
    """What Envoy is answered: over all, for each descriptor, and what the client gets to see."""

    code: int
    statuses: tuple[DescriptorStatus, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the message as bytes."""
        parts = [_number(1, self.code)]
        parts += [_bytes(2, _status(status)) for status in self.statuses]
        parts += [_bytes(3, _text(1, name) + _text(2, value)) for name, value in self.headers]
        if self.body:
            parts.append(_bytes(5, self.body))
        return b"".join(parts)


def read_request(data: bytes) -> RateLimitRequest:
    """Read a `RateLimitRequest`.

    Raises:
        Unreadable: cut off, or no such message.
    """
    domain, hits, descriptors = "", 0, []
    for number, value in _fields(data):
        if number == 1:
            domain = _read_text(value)
        elif number == 2:
            descriptors.append(_read_descriptor(_read_bytes(value)))
        elif number == 3:
            hits = _read_number(value)
    return RateLimitRequest(domain=domain, descriptors=tuple(descriptors), hits=hits or 1)


def _read_descriptor(data: bytes) -> Descriptor:
    entries, hits = [], None
    for number, value in _fields(data):
        if number == 1:
            entries.append(_read_entry(_read_bytes(value)))
        elif number == 3:
            # A wrapper: there, and empty, it says 0, which is another thing than being absent.
            held = [_read_number(inner) for one, inner in _fields(_read_bytes(value)) if one == 1]
            hits = held[-1] if held else 0
    return Descriptor(entries=tuple(entries), hits=hits)


def _read_entry(data: bytes) -> tuple[str, str]:
    texts = {1: "", 2: ""}
    for number, value in _fields(data):
        if number in texts:
            texts[number] = _read_text(value)
    return texts[1], texts[2]


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Return every field of a message with its number."""
    place, end = 0, len(data)
    while place < end:
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise Unreadable("a field without a number")
        value: int | bytes
        if kind == VARINT:
            value, place = _varint(data, place)
        elif kind in (BYTES, FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
            if kind == BYTES:
                size, place = _varint(data, place)
            if size > end - place:
                raise Unreadable("cut off inside a field")
            value = data[place : place + size]
            place += size
        else:
            raise Unreadable(f"wire type {kind}")
        yield number, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if place >= len(data):
            raise Unreadable("cut off inside a number")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place
        shift += 7
    raise Unreadable("a number longer than ten bytes")


def _read_number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise Unreadable("bytes where a number was expected")
    return value


def _read_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise Unreadable("a number where bytes were expected")
    return value


def _read_text(value: int | bytes) -> str:
    try:
        return _read_bytes(value).decode()
    except UnicodeDecodeError:
        raise Unreadable("a text that is not UTF-8") from None


def _status(status: DescriptorStatus) -> bytes:
    data = _number(1, status.code)
    if status.units:
        limit = _number(1, min(status.units, 0xFFFF_FFFF))
        limit += _number(2, UNITS.get(status.window_s, 0)) + _text(3, status.name)
        data += _bytes(2, limit)
    data += _number(3, min(status.remaining, 0xFFFF_FFFF))
    if status.reset_us is not None:
        seconds, rest_us = divmod(status.reset_us, 1_000_000)
        data += _bytes(4, _number(1, seconds) + _number(2, rest_us * 1_000))
    return data


def _number(number: int, value: int) -> bytes:
    """Return a field, or nothing for 0, which is what an absent number means."""
    return _packed(number << 3 | VARINT) + _packed(value) if value else b""


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode("utf-8", "replace"))


def _bytes(number: int, data: bytes) -> bytes:
    return _packed(number << 3 | BYTES) + _packed(len(data)) + data


def _packed(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
