"""Which limits came near: counted by limit, logged now and then, and shown for each tenant.

Only who crossed the mark of late is looked at for the metrics, so that a scrape costs as much as
there are tenants in trouble, and not as much as there are tenants.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable

from tidegate.domain.claim import Claim
from tidegate.facades.gate import AdmissionGate

LOG_EVERY_US = 60_000_000
LOGGED_MAX = 10_000
"""Limits and scopes whose last line is remembered; beyond, all are forgotten and may log again."""
RECENT_MAX = 200
"""Limits of tenants that are looked at again for the metrics; beyond, the oldest are not."""

_log = logging.getLogger(__name__)


class NearLimits:
    """Hears of crossings, from any thread.

    Args:
        now_us: The time.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.counted: Counter[str] = Counter()
        self._logged_us: dict[tuple[str, tuple[str, ...]], int] = {}
        self._recent: OrderedDict[tuple[str, str], None] = OrderedDict()

    def heard(self, limit: str, scope: tuple[str, ...], remaining: int) -> None:
        """Take note of a crossing."""
        self.counted[limit] += 1
        if len(scope) == 1:
            self.remember(limit, scope[0])
        now_us, key = self._now_us(), (limit, scope)
        if now_us - self._logged_us.get(key, -LOG_EVERY_US) < LOG_EVERY_US:
            return
        if len(self._logged_us) >= LOGGED_MAX:
            self._logged_us.clear()
        self._logged_us[key] = now_us
        where = f" of {' x '.join(scope)}" if scope else ""
        _log.warning("limit %s%s is near: %d left", limit, where, remaining)

    def remember(self, limit: str, tenant: str) -> None:
        """Look at this limit of a tenant from now on, until it is near no more."""
        self._recent[limit, tenant] = None
        self._recent.move_to_end((limit, tenant))
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)

    def usage(self, gate: AdmissionGate) -> dict[tuple[str, ...], float]:
        """Return what part is used, by tenant and limit, where a limit of a tenant is near now."""
        by_tenant: dict[str, set[str]] = {}
        for name, tenant in list(self._recent):
            by_tenant.setdefault(tenant, set()).add(name)
        found: dict[tuple[str, ...], float] = {}
        for tenant, names in by_tenant.items():
            for state in gate.limits(Claim(tenant=tenant)):
                if state.name in names and state.scope == (tenant,):
                    limit = gate.policy.limit_named(state.name)
                    if limit.per != ("tenant",):
                        # What bears its name is a cohort.
                        continue
                    used = 1 - state.remaining / state.units
                    if used * 100 >= limit.near_percent:
                        found[tenant, state.name] = used
        for name, tenant in list(self._recent):
            if (tenant, name) not in found:
                self._recent.pop((name, tenant), None)
        return found
