"""Puts the hot modules into wheels in compiled form, too, where a C compiler is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledModules(BuildHookInterface):
    """Run by hatchling. Without a compiler, or with TIDEGATE_PURE=1, the wheel is a pure one."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile for the interpreter that builds; an editable checkout compiles by itself."""
        if version == "editable" or os.environ.get("TIDEGATE_PURE"):
            return
        into = Path(self.root, "build", f"compiled-{sys.implementation.cache_tag}")
        script = Path(self.root, "scripts", "compile.py")
        ran = subprocess.run([sys.executable, script, "--into", into], check=False)
        if ran.returncode:
            self.app.display_warning("The hot modules could not be compiled: this wheel is pure.")
        elif into.is_dir():
            build_data["force_include"][str(into)] = "tidegate/compiled"
            build_data["pure_python"], build_data["infer_tag"] = False, True
