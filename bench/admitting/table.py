"""What the benchmark says: rows, the bars they are held against, and how both are printed.

A row that could not be measured says why and has no figure: nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

HEADINGS = ("row", "what", "ours", "peer", "ratio", "must", "met?")


class NotMeasured(Exception):
    """There is no figure, and this is why: something is not built, not installed, not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a row must reach: at least, at most, or both, in `unit`. Neither: to be measured."""

    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    def met(self, value: float) -> bool:
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g}..{self.at_most:g} {self.unit}"
        if self.at_least is not None:
            return f">= {self.at_least:g} {self.unit}"
        return "" if self.at_most is None else f"<= {self.at_most:g} {self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line. `value` is what the bar judges; without a bar it is there to be read.

    `figures` are the same facts as numbers, for programs; units are in their names.
    """

    group: str
    what: str
    ours: str = "-"
    peer: str = "-"
    value: float | None = None
    unit: str = "x"
    bar: Bar | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`yes` or `NO`; `?` for a bar without a figure; nothing where there is no bar."""
        if self.bar is None:
            return ""
        if self.value is None:
            return "?"
        return "yes" if self.bar.met(self.value) else "NO"

    def cells(self) -> tuple[str, ...]:
        bar = "" if self.bar is None else str(self.bar)
        value = "-" if self.value is None else f"{significant(self.value)} {self.unit}"
        return (self.group, self.what, self.ours, self.peer, value, bar, self.verdict)

    def as_dict(self) -> dict[str, object]:
        return {
            "group": self.group,
            "what": self.what,
            "ours": self.ours,
            "peer": self.peer,
            "value": self.value,
            "unit": self.unit,
            "at_least": self.bar.at_least if self.bar else None,
            "at_most": self.bar.at_most if self.bar else None,
            "met": self.bar.met(self.value) if self.bar and self.value is not None else None,
            "figures": self.figures,
        }


def table(rows: Sequence[Row]) -> str:
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    shown = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([shown[0], "-+-".join("-" * width for width in widths), *shown[1:]])


def summary(rows: Sequence[Row]) -> str:
    verdicts = [row.verdict for row in rows]
    return (
        f"{verdicts.count('yes')} bars met, {verdicts.count('NO')} missed,"
        f" {verdicts.count('?')} without a figure"
    )


def missed(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.verdict == "NO"]


def significant(value: float) -> str:
    """Three digits that mean something, without an exponent."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def nanoseconds(value: float) -> str:
    return f"{value:,.0f} ns"


def a_second(rate: float) -> str:
    return f"{rate / 1000:,.1f}k/s" if rate < 1e6 else f"{rate / 1e6:,.2f}M/s"
