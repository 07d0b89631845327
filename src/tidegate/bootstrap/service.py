"""Putting the service together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.bootstrap.embedded import check_store_url
from tidegate.config import Settings
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit
from tidegate.domain.plan import Plan
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidLimit, InvalidSetting

if TYPE_CHECKING:
    from tidegate.adapters.system.data_folder import DataFolder
    from tidegate.facades.service import Service


def open_service(settings: Settings, folder: DataFolder) -> Service:
    """Put the service together over a data folder. Nothing runs before its `start`.

    Raises:
        InvalidSetting: a setting that cannot be kept.
        ExtraMissing: a part that is not installed.
    """
    check_store_url("store_url", settings.store_url)
    if settings.database_url:
        scheme = settings.database_url.split("://", 1)[0]
        raise InvalidSetting(
            "database_url",
            f"{scheme}://…",
            "nothing: the database is SQLite in the data folder, others are not built yet",
        )
    from tidegate.bootstrap.wiring import Wiring

    return Wiring(settings, folder).service()


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
            units=quotas.operations_per_month,
            period="month",
            per=tenant,
            name="operations_month",
        ),
        Capacity("browsers", units=settings.browser.slots),
        Capacity("pdf_workers", units=settings.pdf.workers),
        Capacity("wasm_instances", units=settings.extract.instances),
        Capacity("memory", units=settings.memory.limit_bytes),
        Capacity("sessions", units=quotas.sessions, per=tenant),
    ]
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
