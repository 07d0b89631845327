"""The one place where adapters meet facades.

Adapters and heavy libraries are imported inside the functions, so that `import tidegate` stays
light and a part that is not installed is missed only by those who use it.
"""

from tidegate.bootstrap.embedded import Gate
from tidegate.bootstrap.service import open_service
from tidegate.bootstrap.shell import admin_key, data_folder, kept_admin_key, open_tenants
from tidegate.config import Settings, load_settings

__all__ = [
    "Gate",
    "Settings",
    "admin_key",
    "data_folder",
    "kept_admin_key",
    "load_settings",
    "open_service",
    "open_tenants",
]
