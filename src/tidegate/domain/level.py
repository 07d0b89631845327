"""What the rule of admission is asked and answers: levels of cells, rows of a claim, a verdict.

Apart from the rule because that is compiled where it can be, and these are already.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidegate.domain.rule import Rule


class Level(msgspec.Struct, frozen=True, gc=False):
    """What a cell holds: `amount` in ticks of its rule, as of `at_us`.

    `past` is what a sliding window remembers besides: of two counters the older one, in units; of
    an exact one the instant and the units of each take, oldest first, flat. `unit` are the ticks
    that a unit had when it was written: a rate may have been changed since.
    """

    amount: int = 0
    at_us: int = 0
    past: tuple[int, ...] = ()
    unit: int = 1


EMPTY = Level()


class Row(msgspec.Struct, gc=False):
    """One cell that a claim touches: its rule, the units asked for, and the level the store read.

    `via` is the index of an earlier row that passes on to this one what it does not keep to itself.
    `cost` then plays no part, nor does `level`: what the cohort has lent is counted from what its
    other members hold, `siblings`, each with the units it keeps. Nothing is stored for such a row.
    """

    rule: Rule
    cost: int
    level: Level = EMPTY
    via: int = -1
    siblings: Sequence[tuple[Level, int]] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer over all rows.

    Admitted: `levels` are the new levels and `costs` the units really added, row by row.
    Refused: `levels` is None, nothing changes, and `refused` is the index of the row to report,
    with the units `remaining` there and the exact wait, None where time alone frees nothing.
    `shadowed` are the rows that would have refused if they were in force.
    """

    levels: list[Level] | None
    costs: list[int] = []
    refused: int = -1
    wait_us: int | None = None
    remaining: int = 0
    shadowed: tuple[int, ...] = ()
