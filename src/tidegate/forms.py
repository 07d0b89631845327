"""Which form of the hot modules is used: compiled ones, where they fit, or their Python files.

`scripts/compile.py` makes the compiled ones and lists what each was made from. As soon as one of
those files is another one, or the interpreter is, all of them stay unused: what runs is always
what stands in the Python files. TIDEGATE_PURE=1 leaves them unused, too.

Imported before any other part of the package, and by that chooses for the whole process.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Literal

PACKAGE = Path(__file__).parent
COMPILED = PACKAGE / "compiled"
LIST = "made-from.txt"
"""In the folder of compiled modules: a name a line, and the checksum of its Python file."""


class CompiledFinder:
    """Finds the modules that are there in compiled form, by their names."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a compiled module; None for all others."""
        file = self._files.get(name)
        return None if file is None else spec_from_file_location(name, file)


def fitting(compiled: Path, package: Path) -> dict[str, Path]:
    """Return compiled modules by name; none at all if one of them does not fit.

    Args:
        compiled: Where they are.
        package: Where the Python files are.
    """
    files = {}
    try:
        for line in (compiled / LIST).read_text("utf-8").splitlines():
            name, _, checksum = line.partition(" ")
            file = compiled / f"{name}{EXTENSION_SUFFIXES[0]}"
            if not file.is_file():
                return {}
            # What the modules share was made from all of them, and has no Python file.
            if checksum:
                source = package.parent.joinpath(*name.split(".")).with_suffix(".py")
                if zlib.crc32(source.read_bytes()) != int(checksum):
                    return {}
            files[name] = file
    except (OSError, ValueError):
        return {}
    return files


def choose() -> Literal["compiled", "pure"]:
    """Let compiled modules be found where they fit, and say which form that is."""
    files = {} if os.environ.get("TIDEGATE_PURE") else fitting(COMPILED, PACKAGE)
    if not files:
        return "pure"
    sys.meta_path.insert(0, CompiledFinder(files))
    return "compiled"


FORM = choose()
"""The form in use."""
