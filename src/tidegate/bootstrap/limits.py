"""The limits that the service has by itself, and the operator's own beside them."""

from __future__ import annotations

from tidegate.config import Settings
from tidegate.config.limits import Overridden, overrides_of
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit
from tidegate.domain.plan import QUOTA_MAX, Plan
from tidegate.domain.standing import OF_PLANS, StandingLimits
from tidegate.errors import InvalidLimit, InvalidSetting

HOSTS_MAX = 10_000
"""Hosts, of all tenants together, whose visits are counted apart."""

TENANT_BODIES, ALL_BODIES = 4, 16
"""How many bodies of the largest size one tenant, and all together, may have on their way."""


def service_limits(settings: Settings, smallest: Plan) -> StandingLimits:
    """Return the limits of the service and of its operator, before tenants' quotas are put in.

    Raises:
        InvalidSetting: an own limit that clashes with one of the service, or an override, cohort
            or weight that no limit bears; naming it.
    """
    for tenant, limit in _named(settings.overrides):
        if limit in OF_PLANS:
            allowed = "a limit that plans do not give: change the plan, or the tenant's quotas"
            raise InvalidSetting(f"overrides: {tenant}.{limit}", "(set)", allowed)
    own = _of_service(settings, smallest)
    resources = {limit.resource for limit in own}
    for index, entry in enumerate(settings.limits):
        if entry.claimable and entry.resource in resources:
            allowed = "false: this resource is the service's own"
            raise InvalidSetting(f"limits[{index}].claimable", True, allowed)
    return standing_limits(settings, [*own, *settings.own_limits()])


def standing_limits(settings: Settings, limits: list[Limit]) -> StandingLimits:
    """Return limits with the overrides, cohorts and weights of the settings.

    Raises:
        InvalidSetting: naming what no limit bears.
    """
    standing = StandingLimits(
        limits=tuple(limits),
        overrides=overrides_of(settings.overrides, limits),
        cohorts=settings.cohorts,
        weights=settings.weights,
    )
    try:
        standing.policy()
    except InvalidLimit as error:
        where = "" if error.field.startswith(("cohorts", "weights", "overrides")) else "limits: "
        raise InvalidSetting(f"{where}{error.field}", error.value, error.allowed) from None
    return standing


def _named(overrides: Overridden) -> list[tuple[str, str]]:
    if isinstance(overrides, dict):
        return [(tenant, name) for tenant, entry in overrides.items() for name in entry]
    return [(str(each.scope), name) for each in overrides for name in each.limits]


def _of_service(settings: Settings, smallest: Plan) -> list[Limit]:
    """Return what is always there; limits per tenant carry the numbers of the smallest plan."""
    quotas = smallest.quotas
    tenant = ("tenant",)
    host = settings.hosts
    return [
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
            keys_max=HOSTS_MAX,
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
