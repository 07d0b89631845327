"""Claims of the same shape, resolved once: the limits, scopes and names of cells are the same."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from tidegate.domain.ask import Ask
from tidegate.domain.claim import Claim
from tidegate.domain.policy import Policy
from tidegate.domain.rule import WINDOW
from tidegate.facades.sharing.outbox import cell_name
from tidegate.facades.sharing.wording import held_by

SHAPES_MAX = 20_000
NEVER_US = 2**62


class Plan(msgspec.Struct, frozen=True, gc=False):
    """How all claims of one shape are asked for, from `since_us` until `until_us`.

    `held` is what their leases give back, unless a shadow or a cohort lets them have less. The
    claim of `ask` is the first one that had this shape.
    """

    ask: Ask
    weight: int
    held: tuple[tuple[str, int], ...]
    since_us: int
    until_us: int


class Resolver:
    """Resolves claims under one policy, and remembers how.

    A shape is who asks for what; one that touches a quota is good until the quota's window turns.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._known: dict[tuple[object, ...], Plan] = {}

    def plan(self, claim: Claim, now_us: int) -> Plan:
        """Resolve a claim. Raises InvalidClaim."""
        if claim.id is not None:
            self.policy.check_id(claim)
        take, hold, others = claim.take, claim.hold, claim.attributes
        amounts = (*take.values(), *hold.values())
        who = (claim.tenant, claim.host, claim.user, claim.route)
        shape = (*who, *take, None, *hold, *amounts, *others.items())
        try:
            plan = self._known.get(shape)
        except TypeError:
            # Something that is no text, and cannot be looked up: this says what.
            return _planned(self.policy, claim, now_us)
        if plan is not None and plan.since_us <= now_us < plan.until_us:
            for units in amounts:
                # True is 1 to a dict, and is refused.
                if type(units) is not int:
                    break
            else:
                return plan
        plan = _planned(self.policy, claim, now_us)
        if len(self._known) >= SHAPES_MAX:
            self._known.clear()
        self._known[shape] = plan
        return plan


def _planned(policy: Policy, claim: Claim, now_us: int) -> Plan:
    ask = policy.ask(claim, lease_us=0, now_us=now_us)
    ask = replace(ask, names=tuple(map(cell_name, ask.cells)))
    windows = [rule.starts_us for rule, _, _ in ask.rows if rule.kind == WINDOW]
    return Plan(
        ask,
        policy.weights.get(claim.tenant, 1),
        held_by(ask, None),
        max((starts_us[0] for starts_us in windows), default=0),
        min((starts_us[1] for starts_us in windows), default=NEVER_US),
    )
