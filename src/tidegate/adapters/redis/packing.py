"""A batch as the script reads it: numbers and texts in one flat list, which a server unpacks fast.

A nested list of the same calls takes it eight times as long. The order of the fields is that of
`domain/batch`; lists are preceded by their length, cells and rules are counted from 0, and claim
ids from 1 by their place in a list of their own, 0 for none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from tidegate.domain.batch import (
    Adjust,
    Admit,
    Adopt,
    Batch,
    Check,
    End,
    GiveBack,
    Leave,
    Look,
    Touch,
    Wait,
    Write,
)
from tidegate.domain.rule import Rule

_encode = msgspec.msgpack.Encoder().encode

SHORT_ADMIT: Final = 1
GIVE_BACK: Final = 2
ADMIT: Final = 3


def pack_batch(batch: Batch) -> tuple[bytes, bytes]:
    """Return the two arguments of the script: the batch, and whose its claims are."""
    packing = _Packing()
    packing.add(batch)
    head = (batch.member, batch.seq, batch.ttl_us, batch.hello, batch.now_us)
    rules = [word for rule in batch.rules for word in _rule(rule)]
    calls = (rules, batch.cells, packing.words, packing.plain)
    lists = (tuple(packing.ids), tuple(packing.given))
    # Left out where nobody listens, so that then nothing is unpacked or looked at for it.
    marks = ([rule.near for rule in batch.rules],) if batch.watch else ()
    return b"".join(map(_encode, (*head, *calls, *lists, *marks))), _encode(packing.people)


def _rule(rule: Rule) -> tuple[int, ...]:
    """Return what the script knows of a rule."""
    first = (rule.kind, rule.ceiling, rule.unit, rule.drain, *rule.starts_us)
    return (*first, rule.length_us, rule.kept, rule.shadow)


class _Packing:
    """What the calls of one batch come to."""

    def __init__(self) -> None:
        self.words: list[int | str | bool] = []
        self.people: list[int | str] = []
        self.ids: dict[str, int] = {}
        self.given: dict[int, None] = {}
        self.plain = True

    def add(self, batch: Batch) -> None:
        """Append all calls. The two kinds that most batches consist of are done here, for speed."""
        words, people = self.words, self.people
        for call in batch.calls:
            if type(call) is Admit:
                people += (call.tenant, call.weight, call.priority)
                if call.claim_id or call.ticket or call.cohorts:
                    self._admit(call)
                else:
                    rows = call.rows
                    words += (SHORT_ADMIT, len(rows) // 3)
                    words += rows
            elif type(call) is GiveBack:
                held = call.held
                words += (GIVE_BACK, len(held) // 2)
                words += held
                for cell in held[::2]:
                    self.given[cell] = None
            else:
                self.plain = False
                _OTHERS[type(call)](self, call)

    def _id(self, claim_id: str) -> int:
        return self.ids.setdefault(claim_id, len(self.ids) + 1) if claim_id else 0

    def _admit(self, call: Admit) -> None:
        self.plain = False
        self.words += (ADMIT, self._id(call.claim_id), call.digest, call.lease_us, call.ticket)
        self.words.append(len(call.rows) // 3)
        for part in call.parts():
            siblings = part.siblings
            self.words += (part.cell, part.rule, part.cost, part.via, len(siblings) // 2, *siblings)

    def end(self, call: End) -> None:
        self.words += (4, self._id(call.claim_id), call.token, call.forget)

    def touch(self, call: Touch) -> None:
        self.words += (5, self._id(call.claim_id), call.token, call.lease_us)

    def adjust(self, call: Adjust) -> None:
        self.words += (6, call.cell, call.rule, call.units, call.taken_us)

    def look(self, call: Look) -> None:
        self.words += (7, len(call.cells), *call.cells)

    def write(self, call: Write) -> None:
        self.words += (8, call.cell, call.rule, call.units)

    def adopt(self, call: Adopt) -> None:
        held = call.held
        self.words += (9, self._id(call.claim_id), call.digest, call.token, call.lease_us)
        self.words += (len(held) // 2, *held)

    def wait(self, call: Wait) -> None:
        self.words += (10, call.cell, call.rule, call.cost)
        self.words += (call.ticket, call.tenant, call.priority)

    def leave(self, call: Leave) -> None:
        self.words += (11, call.cell, call.ticket)

    def check(self, call: Check) -> None:
        self.words += (12, call.cell, call.ticket)


_OTHERS: dict[type, Callable[[_Packing, Any], None]] = {
    End: _Packing.end,
    Touch: _Packing.touch,
    Adjust: _Packing.adjust,
    Look: _Packing.look,
    Write: _Packing.write,
    Adopt: _Packing.adopt,
    Wait: _Packing.wait,
    Leave: _Packing.leave,
    Check: _Packing.check,
}
