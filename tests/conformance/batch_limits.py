"""The limits of random batches, and what a batch says of them."""

from __future__ import annotations

import msgspec

from tidegate.domain.admission import aged
from tidegate.domain.batch import Answer, Batch, Levels, Look, Reply, flat, levels_of
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit, SlidingWindow
from tidegate.domain.rule import Rule, rule_of

TENANTS = ["x", "y", "z\0é"]
LIMITS: dict[str, Limit] = {
    limit.name: limit
    for limit in (
        RateLimit("requests", units=5, period_s=1, burst=8),
        RateLimit("fast", units=300_000, period_s=1, burst=6),
        RateLimit("slow", units=3, period_s=2, burst=3, shadow=True),
        Quota("minute", units=7, period="minute"),
        Quota("day", units=40, period="day", zone="Europe/Berlin"),
        Quota("seven", units=12, every_s=7),
        SlidingWindow("mails", units=4, period_s=3),
        SlidingWindow("calls", units=5, period_s=3, exact=False),
        Capacity("browsers", units=3),
        Capacity("sessions", units=2, shadow=True),
        Capacity("gpus", units=2, per=("tenant",), lend=1, borrow=2),
    )
}
COHORT = ("gpus", TENANTS[:2])
"""The tenants that lend each other one of their two."""


class Draft:
    """The rules and cells of a batch, each named once, with the windows around an instant."""

    def __init__(self, at_us: int) -> None:
        self._at_us = at_us
        self.rules: list[Rule] = []
        self.cells: list[str] = []

    def cell(self, name: str) -> int:
        if name not in self.cells:
            self.cells.append(name)
        return self.cells.index(name)

    def rule(self, name: str) -> int:
        return self.add_rule(rule_of(LIMITS[name], self._at_us))

    def add_rule(self, rule: Rule) -> int:
        if rule not in self.rules:
            self.rules.append(rule)
        return self.rules.index(rule)

    def kind(self, name: str) -> int:
        return rule_of(LIMITS[name], self._at_us).kind


def comparable(batch: Batch, reply: Reply) -> Reply:
    """Return the reply with levels as they are now: stores forget what has aged to nothing.

    Everything else has to be equal as it is.
    """
    answers: list[Answer] = []
    for call, answer in zip(batch.calls, reply.answers, strict=bool(reply.answers)):
        if isinstance(answer, Levels):
            assert isinstance(call, Look)
            rules = [rule_for(batch.cells[index], reply.now_us) for index in call.cells]
            levels = zip(rules, levels_of(answer), strict=True)
            answers.append(
                Levels(flat([aged(rule, level, reply.now_us) for rule, level in levels]))
            )
        else:
            answers.append(answer)
    return msgspec.structs.replace(reply, answers=tuple(answers))


def rule_for(cell: str, now_us: int) -> Rule:
    """Return the rule of a cell; its name begins with that of its limit."""
    return rule_of(LIMITS[cell.partition(":")[0]], now_us)
