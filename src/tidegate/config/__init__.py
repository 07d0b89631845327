"""Settings of the service: validated once at the start, then frozen."""

from tidegate.config.reading import default_data_dir, load_settings
from tidegate.config.settings import Settings

__all__ = ["Settings", "default_data_dir", "load_settings"]
