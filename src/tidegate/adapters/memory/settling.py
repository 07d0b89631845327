"""What a lease took, corrected after the work; and how long it may hold at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.adapters.memory.cells import Table, key_of
from tidegate.adapters.memory.records import Held
from tidegate.adapters.memory.tables import Tables
from tidegate.domain.admission import aged, fallen, risen
from tidegate.domain.decision import Granted
from tidegate.domain.lease import Lease, LeaseOwner, LeaseRecord
from tidegate.errors import InvalidClaim


def adjust(tables: Tables, lease: Lease, actual: Mapping[str, Any], now_us: int) -> None:
    """Bring what the lease took to the amounts really used: put back, or charge on top.

    Raises:
        InvalidClaim: a resource that the claim did not take, or no integer >= 0; nothing changed.
    """
    taken = lease.claim.take
    for resource, units in actual.items():
        if resource not in taken:
            raise InvalidClaim(f"actual.{resource}", resource, " | ".join(taken) or "nothing")
        if type(units) is not int or units < 0:
            raise InvalidClaim(f"actual.{resource}", units, "an integer >= 0")
    for resource, units in actual.items():
        table = tables.takes.get(resource)
        while table is not None:
            _move(tables, table, lease, units - taken[resource], now_us)
            table = table.also


def adopted(tables: Tables, record: LeaseRecord, owner: LeaseOwner, now_us: int) -> Granted:
    """Count what a lease of an earlier process holds, and return it as one of ours."""
    held: Held | None = None
    for resource, units in record.claim.hold.items():
        for limit in tables.policy.named(resource, "hold"):
            table = tables.by_name[limit.name]
            scope = tables.policy.scope_of(limit, record.claim)
            key = table.enter(key_of(scope), scope, table.terms)
            table.young[key] = table.young.get(key, 0) + units
            held = Held(table, key, units, held)
    granted_us = record.granted_us or now_us
    return Granted(
        record.fencing_token,
        record.claim,
        owner,
        granted_us,
        record.expires_us - granted_us,
        record.holder,
        held,
        known_as=record.id,
        cohort=tables.policy.cohort_named(record.claim.tenant),
    )


def _move(tables: Tables, table: Table, lease: Lease, units: int, now_us: int) -> None:
    """Add units to the cell that the lease took from, or put them back if negative."""
    scope = tables.policy.scope_of(table.limit, lease.claim, lease.cohort)
    key = table.found(key_of(scope), lease.claim.tenant)
    rule = (tables.terms(table, key, now_us) if table.varies else table.terms).rule
    level = table.level(key, now_us)
    if units > 0:
        table.store(key, risen(rule, aged(rule, level, now_us), units), now_us)
    elif units < 0:
        table.store(key, fallen(rule, level, -units, lease.granted_us, now_us), now_us)
