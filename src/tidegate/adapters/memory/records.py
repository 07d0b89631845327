"""What the store in memory writes down about grants, as small as it can be.

Structs of msgspec, apart from the code that is compiled where it can be: they are already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tidegate.adapters.memory.cells import Table


class Held(msgspec.Struct, frozen=True, gc=False):
    """Units of one cell that a lease holds, linked to what `more` it holds."""

    table: Table
    key: object
    units: int
    more: Held | None = None


class GrantedId(msgspec.Struct, gc=False):
    """What is needed of a grant to answer a retry of its claim; `ended_us` when its lease ended.

    Not the claim itself: with its amounts that is four times as large. `told`: a retry has been
    told of the grant, so it is no longer its first asker's alone.
    """

    fencing_token: int
    digest: int
    tenant: str
    claim_id: str
    host: str | None
    user: str | None
    route: str | None
    known_as: str = ""
    ended_us: int = 0
    told: bool = False
