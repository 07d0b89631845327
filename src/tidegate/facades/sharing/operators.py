"""Requests of operators: to look at levels, and to set them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.domain.ask import Ask
from tidegate.domain.batch import Answer, Call, Levels, Write
from tidegate.errors import TidegateError
from tidegate.facades.sharing.clerk import Clerk
from tidegate.facades.sharing.outbox import Naming, Request, cell_name, ignored
from tidegate.facades.sharing.seen import Seen
from tidegate.facades.sharing.wording import look_at


def look(
    clerk: Clerk, ask: Callable[[], Ask], heard: Callable[[Seen | TidegateError], None]
) -> None:
    """Read the levels of an ask's cells."""
    seen: list[Ask] = []

    def calls(naming: Naming) -> Sequence[Call]:
        seen[:] = [ask()]
        return (look_at(seen[0], naming),)

    def answered(answers: Sequence[Answer]) -> None:
        answer = answers[0]
        assert isinstance(answer, Levels)
        heard(Seen(seen[0], answer, clerk.session.now_us()))

    clerk.ask(Request(calls=calls, answered=answered, failed=heard, late=ignored))


def write(
    clerk: Clerk, ask: Callable[[], Ask], heard: Callable[[TidegateError | None], None]
) -> None:
    """Set the first cell of an ask to the units it names."""

    def calls(naming: Naming) -> Sequence[Call]:
        now = ask()
        rule, units, _ = now.rows[0]
        return (Write(naming.cell(cell_name(now.cells[0])), naming.rule(rule), units),)

    clerk.ask(Request(calls=calls, answered=lambda _: heard(None), failed=heard, late=ignored))
