"""Gates for trials of a policy: the embedded gate, on a clock that a log drives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tidegate.bootstrap.embedded import Gate
from tidegate.bootstrap.limits import service_limits, standing_limits
from tidegate.bootstrap.shell import plans_of
from tidegate.config.policy_file import PolicyFile, TenantPolicy, read_policy_file
from tidegate.domain.plan import PLAN_ALIASES, Plan
from tidegate.domain.policy import Policy
from tidegate.domain.standing import Allowance
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
    if not file.has_plans:
        return standing_limits(file.settings, file.settings.own_limits()).policy()
    plans = plans_of(file.settings)
    standing = service_limits(file.settings, plans["free"])
    return standing.policy(
        {
            tenant: _allowance(plans, given, f"tenants.{tenant}")
            for tenant, given in file.tenants.items()
        }
    )


def _allowance(plans: dict[str, Plan], given: TenantPolicy, where: str) -> Allowance:
    plan = plans.get(PLAN_ALIASES.get(given.plan, given.plan))
    if plan is None:
        raise InvalidSetting(f"{where}.plan", given.plan, " | ".join(plans))
    try:
        return Allowance(quotas=plan.quotas.override(given.quotas), weight=plan.weight)
    except InvalidLimit as error:
        raise InvalidSetting(f"{where}.{error.field}", error.value, error.allowed) from None
