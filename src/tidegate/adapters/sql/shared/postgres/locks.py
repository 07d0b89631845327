"""Which locks a batch takes, so that it has what it touches for itself until it commits.

Every row belongs to one of many locks, by its key. They are taken in the order of their numbers, so
no two transactions wait for each other in a circle, and none has to be tried again. Who needs more
than a few takes the whole store instead: the server's table of locks has room for 64 for each
connection, and so large a batch would meet every other one anyway.

They are advisory locks of the transaction: they end with it, also behind a pooler.

Source: PostgreSQL documentation, 13.3.5 and 20.12 (max_locks_per_transaction); Gray, Lorie, Putzolu
and Traiger, "Granularity of Locks", 1976, for locks of parts beside a lock of the whole.
"""

from __future__ import annotations

from zlib import crc32

from tidegate.adapters.sql.shared.postgres.arrays import int8s
from tidegate.adapters.sql.shared.postgres.link import Call, Statement
from tidegate.adapters.sql.shared.reach import Reach

PARTS = 1_024
TAKEN_MAX = 40
"""Less than what the server has room for, which other programs use, too."""

_CLASS = b"1414091085"
"""The letters TIDM: these locks are told from those of other programs by it."""
_SHARE = Statement(b"tg_share", b"SELECT pg_advisory_xact_lock_shared(%s, -1)" % _CLASS)
_WHOLE = Statement(b"tg_lock", b"SELECT pg_advisory_xact_lock(%s, -1)" % _CLASS)
_PARTS = Statement(
    b"tg_parts",
    b"SELECT pg_advisory_xact_lock(%s, part::int) FROM unnest($1::bigint[]) AS part" % _CLASS,
)
STATEMENTS = (_SHARE, _WHOLE, _PARTS)


def locks(reach: Reach) -> list[Call]:
    """Return the calls that lock what is within reach."""
    if len(reach.cells) + len(reach.members) + len(reach.ids) > TAKEN_MAX:
        return [(_WHOLE, ())]
    keys = (*reach.cells, *reach.members, *reach.ids)
    parts = sorted({crc32(key) % PARTS for key in keys})
    return [(_SHARE, ()), (_PARTS, [int8s(parts)])]
