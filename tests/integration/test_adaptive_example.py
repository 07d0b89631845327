"""The simulation in the guide of adaptive limits prints what the guide shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = "docs/examples/adaptive_limits.py"
DEADLINE_S = 300


def test_the_guide_shows_what_the_simulation_prints() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / EXAMPLE)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    guide = (ROOT / "docs" / "guides" / "adaptive.md").read_text("utf-8")
    found = re.search(
        rf"^    \$ python {re.escape(EXAMPLE)}\n((?:    [^\n]*\n)+)", guide, re.MULTILINE
    )
    assert found
    assert done.stdout == re.sub("^    ", "", found[1], flags=re.MULTILINE)
