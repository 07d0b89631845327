"""What claims, refusals and levels are called between this process and the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from tidegate.domain.ask import Ask
from tidegate.domain.batch import Look, No
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied, reason_of
from tidegate.domain.policy import UNITS_MAX, Policy
from tidegate.domain.rule import STOCK
from tidegate.errors import InvalidClaim
from tidegate.facades.sharing.outbox import Naming, cell_name


def denied_by(policy: Policy, ask: Ask, answer: No) -> Denied:
    """Return a refusal in the words of callers."""
    cell, rule = ask.cells[answer.row], ask.rows[answer.row][0]
    timed = rule.kind != STOCK
    wait_us = answer.wait_us if answer.wait_us >= 0 else None
    reason = reason_of(policy.limit(cell.limit, cell.scope))
    return Denied(reason, cell.limit, cell.scope, answer.remaining, wait_us, timed)


def look_at(ask: Ask, naming: Naming) -> Look:
    """Return a look at every cell of an ask, then at those of its cohorts."""
    cells = [naming.cell(cell_name(cell)) for cell in ask.cells]
    for siblings in ask.siblings.values():
        cells += [naming.cell(cell_name(cell)) for cell, _ in siblings]
    return Look(tuple(cells))


def held_by(ask: Ask, costs: Sequence[int] | None) -> tuple[tuple[str, int], ...]:
    """Return what a lease gives back: the names of cells, each with its units."""
    held: list[tuple[str, int]] = []
    for index, (rule, cost, via) in enumerate(ask.rows):
        units = cost if costs is None else costs[index]
        if rule.kind == STOCK and via < 0 and units:
            name = ask.names[index] if ask.names else cell_name(ask.cells[index])
            held.append((name, units))
    return tuple(held)


def id_of(claim: Claim) -> str:
    """Return under what name a claim's id is known in the store; empty without one."""
    return "" if claim.id is None else f"{claim.tenant}\x1f{claim.id}"


def digest_of(claim: Claim) -> str:
    """Return what tells a claim from others, in every process; the priority plays no part.

    Raises:
        InvalidClaim: there is something in it that cannot travel.
    """
    check_texts(claim)
    told = replace(claim, priority=0, id=None)
    try:
        text = msgspec.msgpack.encode(told, order="sorted")
    except (TypeError, ValueError, OverflowError):
        raise InvalidClaim("attributes", claim.attributes, "texts by name") from None
    return blake2b(text, digest_size=8).hexdigest()


def check_texts(claim: Claim) -> None:
    """Refuse texts that no store can be told of: half characters. Raises InvalidClaim."""
    texts = {"tenant": claim.tenant, "host": claim.host, "user": claim.user, "route": claim.route}
    texts["id"] = claim.id
    for name, value in claim.attributes.items():
        texts[f"attributes.{name!a}"] = f"{name}{value}" if isinstance(value, str) else name
    for field, text in texts.items():
        if isinstance(text, str) and not _can_travel(text):
            raise InvalidClaim(field, text, "a text of whole characters")


def _can_travel(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_actual(claim: Claim, actual: Mapping[str, int]) -> None:
    """Refuse what no settlement can be. Raises InvalidClaim."""
    for resource, units in actual.items():
        if resource not in claim.take:
            raise InvalidClaim(f"actual.{resource}", resource, " | ".join(claim.take) or "nothing")
        if type(units) is not int or not 0 <= units <= UNITS_MAX:
            raise InvalidClaim(f"actual.{resource}", units, f"0..{UNITS_MAX}")
