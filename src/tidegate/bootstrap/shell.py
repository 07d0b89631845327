"""The data folder and what is in it, for commands that need no running service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.config import Settings, default_data_dir
from tidegate.domain.plan import DEFAULT_PLANS, Plan
from tidegate.errors import InvalidLimit, InvalidSetting

if TYPE_CHECKING:
    from tidegate.adapters.system.admin_key import AdminKey
    from tidegate.adapters.system.data_folder import DataFolder
    from tidegate.facades.tenants import Tenants


def data_folder(settings: Settings, environ: Mapping[str, str]) -> DataFolder:
    """Return the folder that the settings name, not created yet."""
    from tidegate.adapters.system.data_folder import DataFolder

    path = Path(settings.data_dir) if settings.data_dir else default_data_dir(environ)
    return DataFolder(path.absolute())


def admin_key(settings: Settings, folder: DataFolder) -> AdminKey:
    """Return the admin key: the one in the settings, or the file in the data folder."""
    from tidegate.adapters.system.admin_key import AdminKey

    return AdminKey(folder.path / "admin.key", given=settings.admin_key)


def kept_admin_key(settings: Settings, folder: DataFolder) -> AdminKey:
    """Return the admin key that is kept in the data folder, and make the folder.

    Raises:
        InvalidSetting: the key is in the settings, so the folder's would be without effect.
        StoreUnavailable: the folder cannot be made or written to.
    """
    key = admin_key(settings, folder)
    if key.given:
        raise InvalidSetting("admin_key", "(set)", "none: the key is kept where it is set")
    folder.create()
    return key


def plans_of(settings: Settings) -> dict[str, Plan]:
    """Return the plans, with the changes of the settings put in.

    Raises:
        InvalidSetting: a plan or a quota there is not, or a quota out of range.
    """
    plans = dict(DEFAULT_PLANS)
    for name, changes in settings.plans.items():
        if name not in plans:
            raise InvalidSetting(f"plans.{name}", "(set)", " | ".join(plans))
        plan = plans[name]
        try:
            quotas = plan.quotas.override(changes.quotas)
        except InvalidLimit as error:
            where = f"plans.{name}.{error.field}"
            raise InvalidSetting(where, error.value, error.allowed) from None
        plans[name] = replace(
            plan,
            quotas=quotas,
            priority_max=_or(changes.priority_max, plan.priority_max),
            lease_max_s=_or(changes.lease_max_s, plan.lease_max_s),
            leases_max=_or(changes.leases_max, plan.leases_max),
            weight=_or(changes.weight, plan.weight),
        )
    return plans


@asynccontextmanager
async def open_tenants(settings: Settings, folder: DataFolder) -> AsyncIterator[Tenants]:
    """Open the tenants of a data folder, also while a service runs on it. For the shell."""
    from tidegate.adapters.sql.database import Database
    from tidegate.adapters.sql.tenant_store import SqlTenantStore
    from tidegate.adapters.system.clock import SystemClock
    from tidegate.adapters.system.secrets import SystemSecrets
    from tidegate.facades.tenants import Tenants

    folder.create()
    async with Database(folder.path / "tidegate.db") as database:
        tenants = Tenants(
            SqlTenantStore(database),
            clock=SystemClock(),
            secrets=SystemSecrets(),
            plans=plans_of(settings),
        )
        await tenants.refresh()
        yield tenants


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
