"""Gates for trials of a policy: the embedded gate, on a clock that a log drives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tidegate.bootstrap.embedded import Gate
from tidegate.bootstrap.limits import service_limits
from tidegate.bootstrap.shell import plans_of
from tidegate.config.policy_file import PolicyFile, TenantPolicy, read_policy_file
from tidegate.domain.limit import Limit
from tidegate.domain.overrides import Override, Pattern
from tidegate.domain.plan import PLAN_ALIASES, Plan, Quotas
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidLimit, InvalidSetting
from tidegate.facades.replay.trial import Trial, VirtualClock


def trial_of(path: Path, environ: Mapping[str, str]) -> Trial:
    """Return the trial of a policy file, before its first request.

    Raises:
        InvalidSetting: naming what is wrong in the file.
    """
    file = read_policy_file(path, environ)
    clock = VirtualClock()
    gate = Gate(clock=clock)
    gate.set_policy(_policy(file))
    return Trial(str(path), gate, clock)


def _policy(file: PolicyFile) -> Policy:
    limits: list[Limit] = file.settings.own_limits()
    overrides: dict[Pattern, dict[str, Override]] = {}
    if file.has_plans:
        plans = plans_of(file.settings)
        limits = service_limits(file.settings, plans["free"])
        overrides = {
            tenant: quota_overrides(_quotas(plans, given, f"tenants.{tenant}"))
            for tenant, given in file.tenants.items()
        }
    by_name = {limit.name: limit for limit in limits}
    for tenant, changes in file.overrides.items():
        for name, change in changes.items():
            where = f"overrides.{tenant}.{name}"
            if name not in by_name:
                raise InvalidSetting(where, "(set)", " | ".join(sorted(by_name)))
            numbers = Override(units=change.units, burst=change.burst)
            overrides.setdefault(tenant, {})[name] = numbers
    try:
        return Policy(limits, overrides=overrides)
    except InvalidLimit as error:
        raise InvalidSetting(f"limits: {error.field}", error.value, error.allowed) from None


def quota_overrides(quotas: Quotas) -> dict[str, Override]:
    """Return the quotas of a tenant as numbers of the service's own limits."""
    return {
        "requests": Override(units=quotas.requests_per_second, burst=quotas.requests_burst),
        "operations": Override(units=quotas.operations_per_minute),
        "operations_month": Override(units=quotas.operations_per_month or None),
        "sessions": Override(units=quotas.sessions),
    }


def _quotas(plans: dict[str, Plan], given: TenantPolicy, where: str) -> Quotas:
    plan = plans.get(PLAN_ALIASES.get(given.plan, given.plan))
    if plan is None:
        raise InvalidSetting(f"{where}.plan", given.plan, " | ".join(plans))
    try:
        return plan.quotas.override(given.quotas)
    except InvalidLimit as error:
        raise InvalidSetting(f"{where}.{error.field}", error.value, error.allowed) from None
