"""The text of the script: what would go wrong only years from now, or on a large server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tidegate.adapters.redis import script

PARTS = sorted(Path(script.__file__).with_name("lua").glob("*.lua"))
TEXTS = {"P", "Z", "prefix", "name", "names", "member", "whose", "cell", "cells", "ids", "tenant"}
TEXTS |= {"ticket", "log", "place", "pack", "spack", "'"}
"""Names that hold or make texts wherever they are used in the script, and a quotation mark."""


def code(part: Path) -> list[str]:
    return [line.split("--")[0] for line in part.read_text("utf-8").splitlines()]


def joined(line: str) -> list[str]:
    """Return what stands right and left of each `..`; of a call its name, if it is the last."""
    line = re.sub(r"\([^()]*(\([^()]*\))?[^()]*\) \.\.", " ..", line)
    return [*re.findall(r"(\w+|\W) \.\.", line), *re.findall(r"\.\. (\w+|\W)", line)]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_numbers_are_never_made_texts_of_14_digits(part: Path) -> None:
    for line in code(part):
        words = joined(line)
        assert len(words) == 2 * line.count(".."), line
        assert set(words) <= TEXTS, line
        assert "tostring" not in line
        assert not re.search(r"fmt\('(?!%\.0f')", line)


def test_what_joins_a_number_is_found() -> None:
    line = "call('SET', P .. 'x:' .. count, spack('<d', 1) .. name)"
    assert set(joined(line)) - TEXTS == {"count"}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_parts_are_short_and_say_what_they_are(part: Path) -> None:
    lines = part.read_text("utf-8").splitlines()
    assert lines[0].startswith("-- ")
    assert len(lines) <= 300
    assert max(map(len, lines)) <= 100


def test_every_part_is_used() -> None:
    used = {*script.FIRST, *script.REST, *script.LAST}
    assert used == {part.stem for part in PARTS}
    assert all(part.read_text("utf-8") in script.SCRIPT for part in PARTS)
