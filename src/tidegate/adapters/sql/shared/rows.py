"""The rows of the tables, and what of them is a value of the rule.

A row of `cells` is a level and the queue in front of it; a row of `stakes` is what one member holds
of a cell, or that it waits there. So a batch reads and writes only what it touches, however much
its member holds elsewhere, and what a dead member leaves is found without looking at every cell.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from tidegate.adapters.sql.shared.names import key, name_of
from tidegate.domain.admission import Level
from tidegate.domain.rule import STOCK, Rule
from tidegate.domain.world import STANDING_US, KnownId, Member, Place, Queue

NEVER_US = 2**62
MARGIN_US = 60_000_000
"""How long rows are kept that mean nothing any more: so far may the clock step back unnoticed."""


CellRow = tuple[bytes, int, int, int, bytes, bytes, int]
"""Key, amount, instant, unit, past, queue, and after which instant it equals an absent row.
A plain tuple: hundreds of them are read and written with each batch."""


LevelRow = tuple[int, int, bytes]
"""Amount, after which instant it equals an absent one, and key: what most batches change of a cell
that is there, all of them at the same instant."""


class MemberRow(NamedTuple):
    """A member. `token` is the highest that it was given, or knew of."""

    name: bytes
    expires_us: int
    seq: int
    reply: bytes
    token: int


class IdRow(NamedTuple):
    """A claim id. Once it has expired the row equals an absent one.

    `flags` are 1 for an ended lease, 2 for a grant that a retry was told of.
    """

    key: bytes
    digest: str
    token: int
    member: bytes
    expires_us: int
    held: bytes
    flags: int


class StakeRow(NamedTuple):
    """What a member holds of a cell, and whether it waits there."""

    member: bytes
    cell: bytes
    units: int
    waits: bool


ENDED, TOLD = 1, 2

_PLACE = tuple[float, int, int, bytes, bytes, int, int, Rule, bytes]
_encode = msgspec.msgpack.Encoder().encode
_past = msgspec.msgpack.Decoder(tuple[int, ...])
_held = msgspec.msgpack.Decoder(dict[bytes, int])
_queue = msgspec.msgpack.Decoder(tuple[list[_PLACE], dict[bytes, float], float, int, int])


def past_bytes(past: tuple[int, ...]) -> bytes:
    """Return what a sliding window remembers, as it is stored."""
    return _encode(past) if past else b""


def past_of(stored: bytes) -> tuple[int, ...]:
    """Return what a sliding window remembers."""
    return _past.decode(stored) if stored else ()


def gone_us(level: Level, rule: Rule | None, queue: Queue | None, now_us: int) -> int:
    """Return from when on a cell equals an empty one; without a rule it is one of a capacity."""
    if queue is not None and queue.places:
        return NEVER_US
    if rule is None or rule.kind == STOCK:
        gone = NEVER_US if level.amount else now_us + MARGIN_US
    else:
        gone = max(now_us, level.at_us) + rule.forget_us + MARGIN_US
    return max(gone, queue.empty_us + STANDING_US + MARGIN_US) if queue is not None else gone


def queue_bytes(queue: Queue) -> bytes:
    """Return a queue as it is stored."""
    # A tenant that was served no more than all others stands where an unknown one does.
    served = {key(tenant): units for tenant, units in queue.served.items() if units > queue.clock}
    places = [
        (
            *(place.start, place.urgency, place.arrived, key(place.member), key(place.tenant)),
            *(place.cost, place.weight, place.rule, key(place.name)),
        )
        for place in queue.places
    ]
    return _encode((places, served, queue.clock, queue.last_us, queue.empty_us))


def queue_of(stored: bytes) -> Queue:
    """Return a stored queue."""
    stored_places, stored_served, clock, last_us, empty_us = _queue.decode(stored)
    places = [
        Place(
            start=start,
            urgency=urgency,
            arrived=arrived,
            member=name_of(member),
            tenant=name_of(tenant),
            cost=cost,
            weight=weight,
            rule=rule,
            name=name_of(name),
        )
        for start, urgency, arrived, member, tenant, cost, weight, rule, name in stored_places
    ]
    served = {name_of(tenant): units for tenant, units in stored_served.items()}
    return Queue(places, served, clock, last_us, empty_us)


def id_row(name: str, known: KnownId) -> IdRow:
    """Return a row of `ids`."""
    held = _encode({key(cell): units for cell, units in known.held.items()}) if known.held else b""
    flags = ENDED * known.ended + TOLD * known.told
    member, until_us = key(known.member), known.expires_us
    return IdRow(key(name), known.digest, known.token, member, until_us, held, flags)


def known_of(row: IdRow) -> KnownId:
    """Return what is known of a claim id."""
    return KnownId(
        digest=row.digest,
        token=row.token,
        member=name_of(row.member),
        expires_us=row.expires_us,
        held={name_of(cell): units for cell, units in held_of(row.held).items()},
        ended=bool(row.flags & ENDED),
        told=bool(row.flags & TOLD),
    )


def held_of(stored: bytes) -> dict[bytes, int]:
    """Return what the lease of a claim id holds, by the keys of cells."""
    return _held.decode(stored) if stored else {}


def member_of(row: MemberRow) -> Member:
    """Return a member, as yet without what it holds."""
    return Member(expires_us=row.expires_us, seq=row.seq, reply=row.reply)
