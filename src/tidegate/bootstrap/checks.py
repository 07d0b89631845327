"""What checks cost, from the settings: every rule is tried against the limits before the start."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.config import Settings
from tidegate.domain.check import UNKNOWN, CheckRule, CheckRules
from tidegate.domain.claim import Claim
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidClaim, InvalidSetting


def check_rules(settings: Settings, policy: Policy) -> CheckRules:
    """Return the rules of the `check` section.

    Raises:
        InvalidSetting: a resource there is no limit on, or a limit divided by something that
            checks do not say; naming the field.
    """
    check = settings.check
    _try(policy, "check", check.take, {}, check.attributes)
    rules = []
    for index, entry in enumerate(check.rules):
        _try(policy, f"check.rules[{index}]", entry.take, entry.hold, check.attributes)
        rules.append(
            CheckRule(
                methods=frozenset(method.upper() for method in entry.methods),
                host=entry.host.lower(),
                path=entry.path,
                route=entry.route,
                take=entry.take,
                hold=entry.hold,
                lease_s=entry.lease_s,
            )
        )
    for index, rule in enumerate(settings.envoy.rules):
        # Whatever entries a descriptor brings are attributes, so none can be told missing here.
        divided = {name: "" for limit in policy.limits for name in limit.per}
        _try(policy, f"envoy.rules[{index}]", rule.take, {}, divided)
    return CheckRules(rules, take=check.take)


def _try(
    policy: Policy,
    where: str,
    take: Mapping[str, int],
    hold: Mapping[str, int],
    attributes: Mapping[str, str],
) -> None:
    """Resolve a claim of one unit of each: how many there may be is up to each tenant's plan."""
    claim = Claim(
        tenant=UNKNOWN,
        take=dict.fromkeys(take, 1),
        hold=dict.fromkeys(hold, 1),
        host=UNKNOWN,
        user=UNKNOWN,
        route=UNKNOWN,
        attributes=dict.fromkeys(attributes, UNKNOWN),
    )
    try:
        policy.ask(claim, lease_us=1, now_us=0)
    except InvalidClaim as error:
        raise InvalidSetting(f"{where}.{error.field}", error.value, error.allowed) from None
