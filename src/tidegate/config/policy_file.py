"""A policy in one file: limits as the settings declare them, and the plans of some tenants.

Any settings file is one. `tenants` is beside the settings, because a service knows its tenants from
the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidegate.config.reading import _convert, _named, _read
from tidegate.config.settings import Settings
from tidegate.errors import InvalidSetting


class TenantPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The plan of a tenant, and quotas of its own in place of the plan's."""

    plan: str = "free"
    quotas: dict[str, int] = {}


class _Beside(msgspec.Struct, frozen=True, kw_only=True):
    tenants: dict[str, TenantPolicy] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """What a policy file says. `has_plans` where it speaks of plans, which bring limits along."""

    settings: Settings
    tenants: dict[str, TenantPolicy]
    has_plans: bool


def read_policy_file(path: Path, environ: Mapping[str, str]) -> PolicyFile:
    """Read a policy.

    Args:
        path: The file.
        environ: What `${NAME}` in the file stands for. It sets nothing by itself.

    Raises:
        InvalidSetting: naming the setting that is wrong.
        ExtraMissing: there is no YAML parser.
    """
    tree = _read(path, environ)
    beside = {name: tree.pop(name) for name in _Beside.__struct_fields__ if name in tree}
    try:
        found = msgspec.convert(beside, _Beside)
    except msgspec.ValidationError as error:
        raise _named(str(error), beside, _Beside) from None
    settings = _convert(tree)
    has_plans = bool(settings.plans or found.tenants)
    if not settings.limits and not has_plans:
        raise InvalidSetting("limits", "(unset)", "limits, plans or tenants: nothing is limited")
    return PolicyFile(settings=settings, tenants=found.tenants, has_plans=has_plans)
