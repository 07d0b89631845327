"""Which Chromium there is: the real binary, never the distribution's shell script around it.

A script would add a process that swallows signals, and those of Debian and Ubuntu read settings
from the environment. So a script is only followed to the ELF file that it starts.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tidegate.errors import BrowserUnavailable

# Smallest and quickest first: the headless shell has half the memory and CPU of the others.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_SCRIPT_BYTES_MAX = 65_536
_CACHED = (
    "chromium_headless_shell-*/chrome-*/*headless*shell",
    "chromium-*/chrome-*/chrome",
)


def find_binary(configured: Path | None) -> Path:
    """Find a binary: the configured one, those on PATH, then those that playwright downloaded.

    Raises:
        BrowserUnavailable: there is none, or the configured one is no executable.
    """
    if configured is not None:
        return _configured(configured)
    for name in NAMES:
        found = shutil.which(name)
        binary = None if found is None else real_binary(Path(found))
        if binary is not None:
            return binary
    for cached in _cached():
        if _is_elf(cached):
            return cached
    raise BrowserUnavailable(f"no Chromium found; looked for {', '.join(NAMES)}")


def real_binary(found: Path) -> Path | None:
    """Follow links and shell scripts to the ELF file, or None where they lead to none."""
    target = found.resolve()
    if _is_elf(target):
        return target
    for candidate in _candidates(target, found.name):
        if _is_elf(candidate):
            return candidate
    return None


def _configured(path: Path) -> Path:
    binary = real_binary(path)
    if binary is None:
        raise BrowserUnavailable(f"{path} is no Chromium that can be executed")
    return binary


def _candidates(script: Path, name: str) -> list[Path]:
    try:
        with script.open("rb") as opened:
            text = opened.read(_SCRIPT_BYTES_MAX).decode(errors="replace")
    except OSError:
        return []
    if not text.startswith("#!"):
        return []
    # Either the binary stands there, or its folder, or it lies beside the script.
    named = re.findall(r"/[\w./+-]*chrom[\w./+-]*", text)
    folders = [*named, str(script.parent)]
    inside = [Path(folder, file) for folder in folders for file in (name, "chromium", "chrome")]
    return [path.resolve() for path in (*map(Path, named), *inside)]


def _cached() -> list[Path]:
    configured = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    # Unlike `Path.home`, this bears a user without a home.
    home = os.path.expanduser("~")  # noqa: PTH111
    folder = Path(configured) if configured else Path(home, ".cache", "ms-playwright")
    return [path for pattern in _CACHED for path in sorted(folder.glob(pattern), reverse=True)]


def _is_elf(path: Path) -> bool:
    if not (path.is_file() and os.access(path, os.X_OK)):
        return False
    try:
        with path.open("rb") as opened:
            return opened.read(4) == b"\x7fELF"
    except OSError:
        return False
