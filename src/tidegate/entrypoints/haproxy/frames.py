"""The frames of HAProxy's stream processing offload protocol, version 2.0, read and written.

Pure. Every length is checked against what is there before anything is taken.

Source: HAProxy, doc/SPOE.txt, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

HELLO, DISCONNECT, NOTIFY = 1, 2, 3
AGENT_HELLO, AGENT_DISCONNECT, ACK = 101, 102, 103
FIN, ABORT = 1, 2
NO_ERROR, TOO_BIG, INVALID, NO_VERSION, NO_FRAME_SIZE = 0, 3, 4, 5, 6
NO_CAPABILITIES, BAD_VERSION, BAD_FRAME_SIZE, FRAGMENTED, OUT_OF_MEANS = 7, 8, 9, 10, 13
REASONS = {
    NO_ERROR: "normal",
    TOO_BIG: "frame is too big",
    INVALID: "invalid frame received",
    NO_VERSION: "version value not found",
    NO_FRAME_SIZE: "max-frame-size value not found",
    NO_CAPABILITIES: "capabilities value not found",
    BAD_VERSION: "unsupported version",
    BAD_FRAME_SIZE: "max-frame-size too big or too small",
    FRAGMENTED: "fragmentation not supported",
    OUT_OF_MEANS: "resource allocation error",
}

LENGTH_BYTES, HEAD_BYTES = 4, 5
FRAME_MIN_BYTES, FRAME_MAX_BYTES = 256, 16_384
NULL, BOOLEAN, INT32, UINT32, INT64, UINT64, IPV4, IPV6, STRING, BINARY = range(10)
TRUE = 0x10
SET_VAR, SCOPE_TRANSACTION = 1, 2

Value = str | int | bool | None


class Broken(Exception):
    """The peer does not speak the protocol, or more of it than we take; with a status code."""

    def __init__(self, status: int) -> None:
        super().__init__(REASONS[status])
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame without its length."""

    kind: int
    flags: int
    stream_id: int
    frame_id: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What HAProxy asks: the name of the message and its arguments."""

    name: str
    arguments: dict[str, Value] = field(default_factory=dict)


def read_frame(data: bytes) -> Frame:
    """Read what stands behind a length.

    Raises:
        Broken: cut off, or a part of a larger frame, which we never say that we take.
    """
    if len(data) < HEAD_BYTES:
        raise Broken(INVALID)
    flags = int.from_bytes(data[1:HEAD_BYTES], "big")
    if not flags & FIN:
        raise Broken(FRAGMENTED)
    stream_id, place = _varint(data, HEAD_BYTES)
    frame_id, place = _varint(data, place)
    return Frame(
        kind=data[0], flags=flags, stream_id=stream_id, frame_id=frame_id, payload=data[place:]
    )


def read_pairs(payload: bytes) -> dict[str, Value]:
    """Read the items of a HELLO or DISCONNECT."""
    pairs, place = {}, 0
    while place < len(payload):
        name, place = _string(payload, place)
        pairs[name], place = _value(payload, place)
    return pairs


def read_messages(payload: bytes) -> list[Message]:
    """Read the messages of a NOTIFY."""
    messages, place = [], 0
    while place < len(payload):
        name, place = _string(payload, place)
        count, place = _byte(payload, place)
        arguments = {}
        for _ in range(count):
            key, place = _string(payload, place)
            arguments[key], place = _value(payload, place)
        messages.append(Message(name=name, arguments=arguments))
    return messages


def write_frame(kind: int, stream_id: int, frame_id: int, payload: bytes) -> bytes:
    """Return a frame with its length."""
    head = bytes((kind,)) + FIN.to_bytes(4, "big") + _packed(stream_id) + _packed(frame_id)
    return (len(head) + len(payload)).to_bytes(LENGTH_BYTES, "big") + head + payload


def write_pairs(pairs: dict[str, str | int]) -> bytes:
    """Return the items of a HELLO or DISCONNECT; numbers are of 32 bits."""
    return b"".join(
        _named(name) + (_text(value) if isinstance(value, str) else _uint32(value))
        for name, value in pairs.items()
    )


def write_variables(variables: dict[str, str | int]) -> bytes:
    """Return the actions of an ACK that set these variables for the transaction."""
    return b"".join(
        bytes((SET_VAR, 3, SCOPE_TRANSACTION))
        + _named(name)
        + (_text(value) if isinstance(value, str) else _uint32(value))
        for name, value in variables.items()
    )


def _value(data: bytes, place: int) -> tuple[Value, int]:
    first, place = _byte(data, place)
    kind = first & 0x0F
    if kind == NULL:
        return None, place
    if kind == BOOLEAN:
        return bool(first & TRUE), place
    if kind in (INT32, UINT32, INT64, UINT64):
        return _varint(data, place)
    if kind in (IPV4, IPV6):
        raw, place = _taken(data, place, 4 if kind == IPV4 else 16)
        return str(ip_address(raw)), place
    if kind in (STRING, BINARY):
        return _string(data, place)
    raise Broken(INVALID)


def _string(data: bytes, place: int) -> tuple[str, int]:
    size, place = _varint(data, place)
    raw, place = _taken(data, place, size)
    return raw.decode("utf-8", "replace"), place


def _taken(data: bytes, place: int, size: int) -> tuple[bytes, int]:
    if size > len(data) - place:
        raise Broken(INVALID)
    return data[place : place + size], place + size


def _byte(data: bytes, place: int) -> tuple[int, int]:
    if place >= len(data):
        raise Broken(INVALID)
    return data[place], place + 1


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a number: up to 239 one byte, then four bits of the first and seven of each other."""
    value, place = _byte(data, place)
    if value < 240:
        return value, place
    shift = 4
    while shift < 64:
        byte, place = _byte(data, place)
        value += byte << shift
        shift += 7
        if byte < 128:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place
    raise Broken(INVALID)


def _packed(value: int) -> bytes:
    if value < 240:
        return bytes((value,))
    data = bytearray((value & 0x0F | 0xF0,))
    value = (value - 240) >> 4
    while value >= 128:
        data.append(value & 0x7F | 0x80)
        value = (value - 128) >> 7
    data.append(value)
    return bytes(data)


def _named(name: str) -> bytes:
    raw = name.encode()
    return _packed(len(raw)) + raw


def _text(text: str) -> bytes:
    return bytes((STRING,)) + _named(text)


def _uint32(value: int) -> bytes:
    return bytes((UINT32,)) + _packed(value)
