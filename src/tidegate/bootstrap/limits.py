"""The limits that the service has by itself, and the operator's own beside them."""

from __future__ import annotations

from tidegate.config import Settings
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit
from tidegate.domain.plan import QUOTA_MAX, Plan
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidLimit, InvalidSetting

TENANT_BODIES, ALL_BODIES = 4, 16
"""How many bodies of the largest size one tenant, and all together, may have on their way."""


def service_limits(settings: Settings, smallest: Plan) -> list[Limit]:
    """Return the limits the service always has, then the operator's own.

    Those per tenant carry the numbers of the smallest plan; each tenant's own replace them.

    Raises:
        InvalidSetting: an own limit that clashes with one of the service.
    """
    quotas = smallest.quotas
    tenant = ("tenant",)
    host = settings.hosts
    limits: list[Limit] = [
        RateLimit(
            "requests",
            units=quotas.requests_per_second,
            period_s=1,
            burst=quotas.requests_burst,
            per=tenant,
        ),
        RateLimit(
            "host_requests",
            units=host.units,
            period_s=host.period_s,
            burst=host.burst,
            per=("tenant", "host"),
        ),
        Quota("operations", units=quotas.operations_per_minute, period="minute", per=tenant),
        Quota(
            "operations",
            units=quotas.operations_per_month or QUOTA_MAX,
            period="month",
            per=tenant,
            name="operations_month",
        ),
        Capacity("browsers", units=settings.browser.slots),
        Capacity("pdf_workers", units=settings.pdf.workers),
        Capacity("wasm_instances", units=settings.extract.instances),
        Capacity("memory", units=settings.memory.limit_bytes),
        Capacity("sessions", units=quotas.sessions, per=tenant),
        # The bytes of large bodies on their way in; what waits with them waits in memory.
        Capacity(
            "body_bytes",
            units=TENANT_BODIES * settings.body_max_bytes,
            per=tenant,
            name="body_bytes_tenant",
        ),
        Capacity("body_bytes", units=ALL_BODIES * settings.body_max_bytes),
    ]
    return _with_own(limits, settings)


def _with_own(limits: list[Limit], settings: Settings) -> list[Limit]:
    own = {limit.resource for limit in limits}
    for index, entry in enumerate(settings.limits):
        if entry.claimable and entry.resource in own:
            allowed = "false: this resource is the service's own"
            raise InvalidSetting(f"limits[{index}].claimable", True, allowed)
    limits += settings.own_limits()
    try:
        Policy(limits)
    except InvalidLimit as error:
        raise InvalidSetting(f"limits: {error.field}", error.value, error.allowed) from None
    return limits
