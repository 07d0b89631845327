"""Claims granted at sight are those that the rule grants, and leave the same levels behind."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from tests.conformance.batches import random_batches
from tests.conformance.worlds import WorldStore
from tidegate.domain.batch import Admit, Batch, Look, No, Wait, Yes
from tidegate.domain.rule import STOCK, Rule, cohort_rule
from tidegate.domain.tally import Tally


def without_queues(batch: Batch) -> Batch:
    """Nobody waits, since where somebody does nothing is granted at sight."""
    calls = tuple(Look(()) if isinstance(call, Wait) else call for call in batch.calls)
    return msgspec.structs.replace(batch, calls=calls)


@pytest.mark.parametrize("seed", range(20))
def test_claims_granted_at_sight_are_those_that_the_rule_grants(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_sight, by_rule = WorldStore(), WorldStore()
    add, granted = Tally.add, 0

    def counted(tally: Tally, call: Admit) -> dict[str, int] | None:
        nonlocal granted
        held = add(tally, call)
        granted += held is not None
        return held

    for number, random in enumerate(random_batches(Random(seed), 200)):
        sent = without_queues(random)
        monkeypatch.setattr(Tally, "add", counted)
        seen = by_sight.apply(sent)
        monkeypatch.setattr(Tally, "add", lambda _tally, _call: None)
        assert by_rule.apply(sent) == seen, (number, sent)
        assert by_rule.world == by_sight.world, (number, sent)
        # The script that makes the batches goes on by the code as it is.
        monkeypatch.setattr(Tally, "add", add)
    assert granted > 50


@pytest.mark.parametrize(
    ("rules", "last"),
    [
        pytest.param(
            (Rule(kind=STOCK, ceiling=9), Rule(kind=STOCK, ceiling=2)), Admit((0, 1, 1), "x")
        ),
        pytest.param(
            (Rule(kind=STOCK, ceiling=9, kept=1), cohort_rule(1)),
            Admit((0, 0, 1, 1, 1, 1), "x", cohorts=((1, 0, ()),)),
        ),
    ],
    ids=["a limit that was lowered meanwhile", "what a cohort lends"],
)
def test_what_is_not_plain_is_left_to_the_rule(rules: tuple[Rule, ...], last: Admit) -> None:
    plain = Admit((0, 0, 1), "x")
    calls = (plain, plain, last)
    sent = Batch("m", 1, 10**6, True, 10**15, rules, ("own", "cohort"), calls)
    answers = WorldStore().apply(sent).answers
    assert [type(answer) for answer in answers] == [Yes, Yes, No]
