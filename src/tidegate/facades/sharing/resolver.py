"""Claims of the same shape, resolved once: the limits, scopes and names of cells are the same."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from tidegate.domain.ask import Ask
from tidegate.domain.batch import Admit
from tidegate.domain.claim import Claim
from tidegate.domain.policy import Policy
from tidegate.domain.rule import WINDOW
from tidegate.facades.sharing.outbox import Naming, cell_name
from tidegate.facades.sharing.wording import check_texts, held_by

# Bytes, not a tuple of all that a claim says: made in a third of the time, and 1 is not True.
_encode = msgspec.msgpack.Encoder().encode

SHAPES_MAX = 20_000
NEVER_US = 2**62


class Plan(msgspec.Struct, gc=False, eq=False):
    """How all claims of one shape are asked for, from `since_us` until `until_us`.

    `held` is what their leases give back, unless a shadow or a cohort lets them have less. The
    claim of `ask` is the first one that had this shape; `cohort` is its tenant's, where limits are
    per cohort. Within one `batch` the plain claims of one shape are the same `call`.
    """

    ask: Ask
    weight: int
    held: tuple[tuple[str, int], ...]
    since_us: int
    until_us: int
    cohort: str = ""
    batch: int = -1
    call: tuple[Admit] | None = None

    def plain(self, naming: Naming, priority: int) -> tuple[Admit]:
        """Return a claim that asks for nothing but its rows."""
        call = self.call
        if self.batch == naming.batch and call is not None and call[0].priority == priority:
            return call
        ask = self.ask
        admit = Admit(naming.rows(ask), ask.claim.tenant, self.weight, priority)
        if ask.siblings:
            admit = replace(admit, cohorts=naming.cohorts(ask))
        self.batch, self.call = naming.batch, (admit,)
        return self.call


class Resolver:
    """Resolves claims under one policy, and remembers how.

    A shape is who asks for what; one that touches a quota is good until the quota's window turns.

    Args:
        now_us: The store's time.
    """

    def __init__(self, policy: Policy, now_us: Callable[[], int]) -> None:
        self.policy, self._now_us = policy, now_us
        self._known: dict[bytes, Plan] = {}
        self._per_cohort = policy.has_cohort_limits

    def plan(self, claim: Claim, now_us: int = 0) -> Plan:
        """Resolve a claim: by the calendar of `now_us`; without it perhaps by that of before.

        Raises:
            InvalidClaim: see `Policy.ask`.
        """
        if claim.id is not None:
            self.policy.check_id(claim)
            claim = replace(claim, id=None)
        try:
            shape = _encode(claim)
        except (TypeError, ValueError, OverflowError):
            # Something has no place in a claim: the policy says what, unless it looks elsewhere.
            unusual = self._planned(claim)
            check_texts(claim)
            return unusual
        plan = self._known.get(shape)
        if plan is None or (now_us and not plan.since_us <= now_us < plan.until_us):
            plan = self._planned(claim)
            if len(self._known) >= SHAPES_MAX:
                self._known.clear()
            self._known[shape] = plan
        return plan

    def _planned(self, claim: Claim) -> Plan:
        ask = self.policy.ask(claim, lease_us=0, now_us=self._now_us())
        ask = replace(ask, names=tuple(map(cell_name, ask.cells)))
        windows = [rule.starts_us for rule, _, _ in ask.rows if rule.kind == WINDOW]
        return Plan(
            ask,
            self.policy.weights.get(claim.tenant, 1),
            held_by(ask, None),
            max((starts_us[0] for starts_us in windows), default=0),
            min((starts_us[1] for starts_us in windows), default=NEVER_US),
            self.policy.cohort_named(claim.tenant) if self._per_cohort else "",
        )
