"""The committed module is what its source gives, and can reach nothing outside itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.needs("ziglang")
def test_the_module_is_what_its_source_gives() -> None:
    command = ["/bin/sh", str(ROOT / "scripts" / "build-wasm.sh"), "--check"]
    settings = {**os.environ, "PYTHON": sys.executable}
    result = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.needs("wasmtime")
def test_the_module_imports_nothing() -> None:
    import wasmtime

    from tidegate.adapters.wasmtime.sandbox import shipped_code

    module = wasmtime.Module(wasmtime.Engine(), shipped_code())
    assert module.imports == []
    assert {export.name for export in module.exports} == {"memory", "reserve", "extract"}
