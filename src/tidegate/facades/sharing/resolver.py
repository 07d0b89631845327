"""Claims of the same shape, resolved once: the limits, scopes and names of cells are the same."""

from __future__ import annotations

from msgspec.structs import replace

from tidegate.domain.ask import Ask
from tidegate.domain.claim import Claim
from tidegate.domain.policy import Policy
from tidegate.domain.rule import WINDOW
from tidegate.facades.sharing.outbox import cell_name

SHAPES_MAX = 20_000
NEVER_US = 2**62


class Resolver:
    """Resolves claims under one policy, and remembers how.

    A shape is who asks for what; one that touches a quota is good until the quota's window turns.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._known: dict[tuple[object, ...], tuple[Ask, int, int]] = {}

    def ask(self, claim: Claim, *, lease_us: int, now_us: int, holder: str) -> Ask:
        """Resolve a claim. Raises InvalidClaim."""
        shape = _shape(claim)
        if shape is not None:
            found = self._known.get(shape)
            if found is not None and found[1] <= now_us < found[2]:
                self.policy.check_id(claim)
                return replace(found[0], claim=claim, lease_us=lease_us, holder=holder)
        ask = self.policy.ask(claim, lease_us=lease_us, now_us=now_us, holder=holder)
        ask = replace(ask, names=tuple(map(cell_name, ask.cells)))
        if shape is not None:
            if len(self._known) >= SHAPES_MAX:
                self._known.clear()
            self._known[shape] = (ask, *_good_within(ask))
        return ask


def _shape(claim: Claim) -> tuple[object, ...] | None:
    """Return what tells claims apart that are resolved differently; None for unusual ones."""
    if claim.attributes:
        return None
    # True is 1 to a dict, and is refused as an amount.
    for amounts in (claim.take, claim.hold):
        for units in amounts.values():
            if type(units) is not int:
                return None
    who = (claim.tenant, claim.host, claim.user, claim.route)
    for name in who:
        if type(name) is not str and name is not None:
            return None
    return (*who, *claim.take.items(), None, *claim.hold.items())


def _good_within(ask: Ask) -> tuple[int, int]:
    """Return from when until when the quotas of an ask are in the window they were resolved for."""
    windows = [rule.starts_us for rule, _, _ in ask.rows if rule.kind == WINDOW]
    return max((w[0] for w in windows), default=0), min((w[1] for w in windows), default=NEVER_US)
