"""What the sandbox hands out, as `output.h` lays it out, read without trusting it.

A record is five 32-bit numbers (kind, size of the name, size of the value, and a range of the
text), then the bytes of the name and of the value.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from tidegate.errors import WorkerCrashed

RECORD = struct.Struct("<5I")
RESULT = struct.Struct("<4I")

# 10,000 links, 1,000 metas and one each of the others, as the extractor counts them.
RECORDS_MAX = 11_005


class Kind(IntEnum):
    """The kinds of records, as `enum record_kind` numbers them."""

    TITLE = 1
    LINK = 2
    META = 3
    LANG = 4
    CANONICAL = 5
    BASE = 6
    HEADING = 7


KIND_MAX = max(Kind)


class Record(NamedTuple):
    """One fact about the page, of one `Kind`. `start` and `stop` are a range of bytes of the text.

    A page may have 11,000 of them, and a tuple is made in a third of the time.
    """

    kind: int
    name: bytes
    value: bytes
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPage:
    """The text in UTF-8, and the records in the order of the document."""

    text: bytes
    records: list[Record]


def read_records(data: bytes, *, text_size: int) -> list[Record]:
    """Take the records apart.

    Raises:
        WorkerCrashed: this is not what our extractor writes.
    """
    records: list[Record] = []
    at = 0
    while at < len(data):
        if len(data) - at < RECORD.size or len(records) == RECORDS_MAX:
            raise WorkerCrashed("the extractor wrote broken or too many records")
        kind, name_size, value_size, start, stop = RECORD.unpack_from(data, at)
        behind_name = at + RECORD.size + name_size
        end = behind_name + value_size
        if end > len(data) or not start <= stop <= text_size or not 1 <= kind <= KIND_MAX:
            raise WorkerCrashed("the extractor wrote a record that cannot be")
        name, value = data[at + RECORD.size : behind_name], data[behind_name:end]
        records.append(Record(kind, name, value, start, stop))
        at = end
    return records
