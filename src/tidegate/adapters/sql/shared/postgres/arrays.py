"""Arrays and numbers as PostgreSQL sends and receives them in binary.

Source: PostgreSQL source, src/backend/utils/adt/arrayfuncs.c, array_recv and array_send.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

BOOL, BYTES, INT8, TEXT = 16, 17, 20, 25
"""Object identifiers of types. Source: src/include/catalog/pg_type.dat."""

_HEAD = struct.Struct(">iiIii")
_LENGTH = struct.Struct(">i")
_INT8 = struct.Struct(">q")


def int8(number: int) -> bytes:
    """Return a bigint."""
    return _INT8.pack(number)


def number(value: bytes | None) -> int:
    """Read a bigint."""
    assert value is not None
    return int(_INT8.unpack(value)[0])


def int8s(numbers: Sequence[int]) -> bytes:
    """Return an array of bigints."""
    if not numbers:
        return _head(INT8, 0)
    count = len(numbers)
    pairs = [_INT8.size] * (2 * count)
    pairs[1::2] = numbers
    return _head(INT8, count) + struct.pack(">" + "iq" * count, *pairs)


def bytes_array(values: Sequence[bytes], kind: int = BYTES) -> bytes:
    """Return an array of byte strings, or of texts."""
    head = _head(kind, len(values))
    if not any(values):
        return head + bytes(_LENGTH.size * len(values))
    pack = _LENGTH.pack
    parts = [b""] * (2 * len(values))
    parts[::2] = [pack(len(value)) for value in values]
    parts[1::2] = values
    return head + b"".join(parts)


def bools(values: Iterable[bool]) -> bytes:
    """Return an array of truth values."""
    return bytes_array([b"\1" if value else b"\0" for value in values], BOOL)


def read_bytes_array(data: bytes | None) -> list[bytes]:
    """Read an array of byte strings."""
    assert data is not None
    values: list[bytes] = []
    if len(data) <= _HEAD.size:
        return values
    count = _HEAD.unpack_from(data)[3]
    if len(data) == _HEAD.size + _LENGTH.size * count:
        return [b""] * count
    at, read, length_bytes = _HEAD.size, _LENGTH.unpack_from, _LENGTH.size
    while at < len(data):
        start = at + length_bytes
        at = start + read(data, at)[0]
        values.append(data[start:at])
    return values


def read_int8s(data: bytes | None) -> tuple[int, ...]:
    """Read an array of bigints."""
    assert data is not None
    count = (len(data) - _HEAD.size) // 12
    if count <= 0:
        return ()
    return struct.unpack_from(">" + "4xq" * count, data, _HEAD.size)


def _head(kind: int, count: int) -> bytes:
    # Of an empty array there are no dimensions to tell.
    return _HEAD.pack(1, 0, kind, count, 1) if count else struct.pack(">iiI", 0, 0, kind)
