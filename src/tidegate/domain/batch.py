"""What a process says to a shared store in one round trip, and what it hears back.

A process is a *member*: it holds in aggregate what its leases hold, and what a dead member held
comes back at once. Each batch renews it. The store keeps the reply to a member's last batch, so one
that was sent again after a lost reply is answered without being applied twice.

All messages are arrays of numbers and texts, so that they travel as MessagePack and scripts in
other languages read them by position. No number is above 2**53.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.domain.admission import Level
from tidegate.domain.rule import Rule


class Part(msgspec.Struct, frozen=True, gc=False):
    """One row of a claim: index of its cell and of its rule in the batch, and the units.

    `via` is the index of the row that passes on to this one, or -1; `siblings` are then the cells
    of the other members of the cohort, each with the units it keeps: cell, kept, cell, kept, ...
    """

    cell: int
    rule: int
    cost: int
    via: int = -1
    siblings: tuple[int, ...] = ()


class Admit(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """Decide a claim.

    `rows` are cell, rule, units, cell, rule, units, ...; `cohorts` say which of them are those of
    cohorts: row, the row that passes on to it, siblings, ... See `Part`.
    `claim_id` is tenant and id in one text, or empty; `digest` tells its claim from others.
    `lease_us` is how long the id is remembered at least. `ticket` is that of the waiter who asks.
    """

    rows: tuple[int, ...]
    tenant: str
    weight: int = 1
    priority: int = 500
    claim_id: str = ""
    digest: str = ""
    lease_us: int = 0
    ticket: str = ""
    cohorts: tuple[tuple[int, int, tuple[int, ...]], ...] = ()

    def parts(self) -> list[Part]:
        """Return the rows one by one."""
        numbers = iter(self.rows)
        parts = [Part(*row) for row in zip(numbers, numbers, numbers, strict=True)]
        for row, via, siblings in self.cohorts:
            parts[row] = msgspec.structs.replace(parts[row], via=via, siblings=siblings)
        return parts


class GiveBack(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Give back what a lease without an id holds: cell, units, cell, units, ..."""

    held: tuple[int, ...]


class End(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """End the lease of a claim id, whichever member it belongs to.

    `forget`: its asker never heard of the grant, so free the id, too; unless a retry has heard.
    """

    claim_id: str
    token: int
    forget: bool = False


class Touch(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """Remember the id of a live lease for `lease_us` more."""

    claim_id: str
    token: int
    lease_us: int


class Adjust(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """Charge more units to a cell, or put some back (negative) that were taken at `taken_us`."""

    cell: int
    rule: int
    units: int
    taken_us: int


class Look(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """Read levels."""

    cells: tuple[int, ...]


class Write(msgspec.Struct, frozen=True, array_like=True, tag=7, gc=False):
    """Set a cell to exactly `units`, as if they had been taken now."""

    cell: int
    rule: int
    units: int


class Adopt(msgspec.Struct, frozen=True, array_like=True, tag=8, gc=False):
    """Hold units whatever the ceiling, for a lease of an earlier process: cell, units, ..."""

    held: tuple[int, ...]
    claim_id: str = ""
    digest: str = ""
    token: int = 0
    lease_us: int = 0


class Wait(msgspec.Struct, frozen=True, array_like=True, tag=9, gc=False):
    """Take a ticket at a cell: one for each member and tenant, for its most urgent claim.

    While it waits, room for its `cost` is kept from whoever comes after it. Its name is the
    member's choice, and unlike all others; it replaces the one it had there for this tenant.
    """

    cell: int
    rule: int
    cost: int
    ticket: str
    tenant: str
    weight: int
    priority: int


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=10, gc=False):
    """Give up a ticket."""

    cell: int
    ticket: str


class Check(msgspec.Struct, frozen=True, array_like=True, tag=11, gc=False):
    """Ask whether there is room for a ticket now."""

    cell: int
    ticket: str


Call = Admit | GiveBack | End | Touch | Adjust | Look | Write | Adopt | Wait | Leave | Check


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Calls of one member, applied in order as one step.

    `seq` grows by one with each batch; 0 is but a sign of life, of a member whose batches may be
    under way, and is not remembered. `hello` makes the member known; without it an unknown
    member is told that it was lost. `now_us` 0 is the store's own clock. `watch` asks which limits
    come near.
    """

    member: str
    seq: int
    ttl_us: int
    hello: bool
    now_us: int
    rules: tuple[Rule, ...]
    cells: tuple[str, ...]
    calls: tuple[Call, ...]
    watch: bool = False

    def named(self, held: tuple[int, ...]) -> dict[str, int]:
        """Return units by the names of their cells, from cell, units, cell, units, ..."""
        cells = self.cells
        return {cells[held[index]]: held[index + 1] for index in range(0, len(held), 2)}


APPLIED, LOST, STALE = 0, 1, 2


class Yes(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """Granted under this fencing token.

    `costs` are the units added row by row, if a shadow or a cohort made them differ from those
    that were asked for, or if a limit came `near`: its row and the units left, row, units, ...
    """

    token: int
    costs: tuple[int, ...] = ()
    near: tuple[int, ...] = ()


class Again(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The id was granted before, by `member`. `expires_us` is when it is forgotten."""

    token: int
    member: str
    expires_us: int
    ended: bool


class No(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Refused by row `row`; `wait_us` is exact, or -1 where nobody knows."""

    row: int
    remaining: int
    wait_us: int


class Reused(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The id was granted for another claim."""


class Levels(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """What was looked at: amount, instant, unit, number of past values, these, and so on."""

    levels: tuple[int, ...]


class Done(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """It was done. `changed` is False where there was nothing to do any more."""

    changed: bool = True


Answer = Yes | Again | No | Reused | Levels | Done


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The answers, in the order of the calls, if the batch was `APPLIED`.

    If not, nothing was changed: the member is `LOST`, with all it held, and has to say hello under
    another name; or a rule is `STALE`, since its windows do not reach around `now_us`, the store's
    time. `woken` names members that have a ticket there is room for now.
    """

    now_us: int
    state: int
    answers: tuple[Answer, ...] = ()
    woken: tuple[str, ...] = ()


def levels_of(answer: Levels) -> list[Level]:
    """Return levels as the rule knows them."""
    numbers, index, levels = answer.levels, 0, []
    while index < len(numbers):
        size = numbers[index + 3]
        past = tuple(numbers[index + 4 : index + 4 + size])
        levels.append(Level(numbers[index], numbers[index + 1], past, numbers[index + 2]))
        index += 4 + size
    return levels


def flat(levels: list[Level]) -> tuple[int, ...]:
    """Return levels as they travel."""
    numbers: list[Any] = []
    for level in levels:
        numbers += (level.amount, level.at_us, level.unit, len(level.past), *level.past)
    return tuple(numbers)
