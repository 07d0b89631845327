"""Who goes first among tenants that wait for the same thing.

Whoever holds the smallest part of what is scarce, by weight: the share of the one capacity of which
a tenant holds most (dominant resource fairness). Among equals, and for what is spent and not held,
whoever was served least by weight. An idle tenant saves nothing up: it comes back with at least
what those have been served who are active (start-time fair queueing).

Pure, and the order that every store with a queue has to keep.

Source: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011; Goyal, Vin and Cheng, "Start-time
Fair Queuing", SIGCOMM 1996.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a tenant stands at one queue. `tenant` tells it from the others there.

    `share` is its dominant share, 0..1. `served` are the units it got here, divided by its weight.
    `borrows`: its next claim would use what others of its cohort have lent.
    """

    tenant: str
    weight: int = 1
    share: float = 0.0
    served: float = 0.0
    borrows: bool = False
    arrived: int = 0


def precedence(standing: Standing) -> tuple[bool, float, float, int]:
    """Return what tenants are ordered by, the first one first: owners before borrowers."""
    share = standing.share / standing.weight
    return standing.borrows, share, standing.served, standing.arrived


def pick(standings: Iterable[Standing]) -> str:
    """Return the tenant whose turn it is; there must be one."""
    return min(standings, key=precedence).tenant


def dominant_share(held: Mapping[str, int], ceilings: Mapping[str, int]) -> float:
    """Return the largest part that a tenant holds of any capacity it shares with others.

    Args:
        held: Units by capacity.
        ceilings: How many units there are of each of them; 0 for one that is not shared.
    """
    shares = (units / ceilings[name] for name, units in held.items() if ceilings[name])
    return max(shares, default=0.0)


def resumed(served: float, active: Iterable[float]) -> float:
    """Return what an idle tenant counts as served when it comes back among active ones."""
    return max(served, min(active, default=0.0))
