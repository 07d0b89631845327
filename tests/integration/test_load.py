"""The load run, for a few seconds: whatever it breaks at this size is broken at every size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "load.py"


@pytest.mark.slow
@pytest.mark.needs("chromium", "playwright", "pdfium", "wasmtime", "uvloop", "linux_proc")
@pytest.mark.parametrize("faults", [[], ["--faults"]], ids=["as it should be", "with faults"])
def test_everything_adds_up(faults: list[str]) -> None:
    command = [sys.executable, str(BENCH), "--seconds", "5", "--parallel", "32", *faults]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.stdout.endswith("Every rule held.\n"), ran.stdout + ran.stderr
    assert ran.returncode == 0
