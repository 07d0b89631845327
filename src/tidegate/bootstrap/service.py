"""Putting the service together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.bootstrap.embedded import check_store_url
from tidegate.config import Settings
from tidegate.errors import InvalidSetting

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
