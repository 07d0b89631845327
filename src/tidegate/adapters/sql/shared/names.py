"""Names of cells, claim ids and members, as keys of tables: bytes of bounded length.

Bytes, since a text of PostgreSQL cannot hold the character 0, which a tenant may send; bounded,
since an entry of its index is. A name that is too long keeps its beginning and gets a digest.

Source: PostgreSQL documentation, 8.3 and 64.1 (an index entry is at most a third of a page).
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from tidegate.domain.batch import Admit, Adopt, Batch, Call, End, Touch

NAME_MAX = 250
"""Characters: at most 1,000 bytes."""
_KEPT = 180
_WithId = (Admit, End, Touch, Adopt)


def key(name: str) -> bytes:
    """Return a name as it is stored."""
    return name.encode("utf-8", "surrogatepass")


def name_of(stored: bytes) -> str:
    """Return a stored name."""
    return stored.decode("utf-8", "surrogatepass")


def shortened(batch: Batch) -> Batch:
    """Return the batch with names that fit; the same one if all do."""
    if max(map(len, batch.cells), default=0) > NAME_MAX:
        batch = msgspec.structs.replace(batch, cells=tuple(map(short, batch.cells)))
    ids = [call.claim_id for call in batch.calls if isinstance(call, _WithId)]
    if max(map(len, ids), default=0) > NAME_MAX:
        batch = msgspec.structs.replace(batch, calls=tuple(map(_with_short_id, batch.calls)))
    return batch


def short(name: str) -> str:
    """Return a name that fits and that no other name becomes."""
    if len(name) <= NAME_MAX:
        return name
    return f"{name[:_KEPT]}\x1f#{blake2b(key(name), digest_size=32).hexdigest()}"


def _with_short_id(call: Call) -> Call:
    if isinstance(call, _WithId):
        return msgspec.structs.replace(call, claim_id=short(call.claim_id))
    return call
