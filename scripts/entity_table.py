"""Writes the table of named character references as a C header, for `scripts/build-wasm.sh`.

The names come from Python's `html.entities.html5`, which holds the list of the HTML standard. The
layout is described in `characters.h`, which reads it.

Source: WHATWG HTML, 13.5 (named character references).
"""

from __future__ import annotations

import sys
from html.entities import html5
from pathlib import Path

SLOTS = 4096
FNV_BASIS, FNV_PRIME = 2166136261, 16777619
COLUMNS = 24


def _hash(name: bytes) -> int:
    value = FNV_BASIS
    for byte in name:
        value = (value ^ byte) * FNV_PRIME & 0xFFFFFFFF
    return value


def _pack(entities: dict[str, str]) -> tuple[bytearray, list[int]]:
    """Return the entries, behind one unused byte so that no offset is 0, and the hashed slots."""
    entries, slots = bytearray(1), [0] * SLOTS
    for name, value in sorted(entities.items()):
        key, text = name.encode("ascii"), value.encode()
        # extract.c gives the text 6/5 of the room of the document, and relies on this.
        assert 5 * len(text) <= 6 * (1 + len(key)), name
        slot = _hash(key) >> 20
        while slots[slot]:
            slot = (slot + 1) % SLOTS
        slots[slot] = len(entries)
        entries += bytes([len(key)]) + key + bytes([len(text)]) + text
    assert len(entries) < 1 << 16, "offsets have 16 bits"
    return entries, slots


def _array(kind: str, name: str, values: bytearray | list[int]) -> str:
    rows = (values[at : at + COLUMNS] for at in range(0, len(values), COLUMNS))
    body = ",\n".join(",".join(map(str, row)) for row in rows)
    return f"static const {kind} {name}[{len(values)}] = {{\n{body}}};\n"


def header() -> str:
    """Return the whole header."""
    entries, slots = _pack(html5)
    longest = max(len(name.rstrip(";")) for name in html5)
    longest_bare = max(len(name) for name in html5 if not name.endswith(";"))
    return (
        f"#define ENTITY_NAME_MAX {longest}\n#define ENTITY_BARE_MAX {longest_bare}\n"
        + _array("u8", "ENTITY_BYTES", entries)
        + _array("u16", "ENTITY_SLOTS", slots)
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(header(), encoding="ascii")
