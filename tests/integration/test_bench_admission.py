"""The admission benchmark, for seconds: every row works, says the truth about what it cannot
measure, and its exit status follows its table.
"""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidegate import Gate

BENCH = Path(__file__).parents[2] / "bench"
GROUPS = [
    *("rate", "claim", "refusal", "threads", "async", "memory"),
    *("redis", "leased", "postgres", "exact", "calls"),
]
REASONS = ("not built", "not installed", "No module", "no Valkey", "no PostgreSQL", "pip install")
"""What a row may say for want of a figure."""


def run(file: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    command = [sys.executable, str(BENCH / "admission.py"), "--quick", "--json", str(file)]
    ran = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=300, check=False
    )
    assert file.exists(), ran.stdout + ran.stderr
    return ran, json.loads(file.read_text("utf-8"))


@pytest.mark.slow
def test_every_row_has_a_figure_or_a_reason(tmp_path: Path) -> None:
    ran, told = run(tmp_path / "rows.json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = told["rows"]
    assert list(dict.fromkeys(row["group"] for row in rows)) == GROUPS
    for row in rows:
        assert row["what"] in ran.stdout
        if row["value"] is None:
            assert any(reason in f"{row['ours']} {row['peer']}" for reason in REASONS), row
        else:
            assert math.isfinite(row["value"]), row
            assert row["value"] >= 0, row
        assert all(math.isfinite(figure) for figure in row["figures"].values()), row
    in_memory = [row for row in rows if row["group"] in {"claim", "threads", "memory"}]
    told_of_peers = [row for row in in_memory if "not installed" not in row["peer"]]
    assert all(row["figures"] for row in told_of_peers if row["ours"] != "-"), in_memory
    assert all(step_ns >= 0 for step_ns in told["floor_ns"].values())
    assert told["form"] in ran.stdout


@pytest.mark.slow
def test_eight_threads_get_the_limit_exactly_and_strict_fails_for_a_missed_bar(
    tmp_path: Path,
) -> None:
    ran, told = run(tmp_path / "rows.json", "--only", "4,rate", "--strict")
    rows = told["rows"]
    counted = next(row for row in rows if "admitted" in row["what"])
    assert counted["figures"]["ours_admitted"] == counted["figures"]["limit"]
    assert ran.returncode == int(any(row["met"] is False for row in rows)), ran.stdout


@pytest.mark.parametrize("only", ["nothing", "0", "12", "rate,,redis"])
def test_an_unknown_group_is_refused_with_the_known_ones(only: str) -> None:
    command = [sys.executable, str(BENCH / "admission.py"), "--only", only]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "rate, claim, refusal" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("bar", "value", "verdict"),
    [
        pytest.param({"at_least": 2.5}, 2.5, "yes", id="a bar is met from its very value"),
        pytest.param({"at_least": 2.5}, 2.49, "NO", id="below"),
        pytest.param({"at_most": 1.3}, 1.31, "NO", id="above"),
        pytest.param({"at_least": 0.99, "at_most": 1}, 1.001, "NO", id="never above the ideal"),
        pytest.param({"at_most": 1.3}, None, "?", id="no figure is neither"),
    ],
)
def test_verdicts(
    monkeypatch: pytest.MonkeyPatch, bar: dict[str, float], value: float | None, verdict: str
) -> None:
    monkeypatch.syspath_prepend(BENCH)
    table = importlib.import_module("admitting.table")
    row = table.Row(group="g", what="w", value=value, bar=table.Bar(**bar))
    assert row.verdict == verdict
    assert table.missed([row]) == ([row] if verdict == "NO" else [])


def test_rows_on_stores_have_no_figure_until_the_gate_takes_the_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCH)
    refusal = importlib.import_module("admitting.refusal")
    own = importlib.import_module("admitting.own")
    quick = importlib.import_module("admitting.effort").QUICK
    row = refusal.on_store("none", lambda: "carrier-pigeon://roof", quick)
    assert (row.value, row.figures, row.ours) == (None, {}, "store not built")
    monkeypatch.setattr(own, "open_gate", lambda limits, _store="": Gate(limits))
    row = refusal.on_store("none", lambda: "carrier-pigeon://roof", quick)
    assert row.value is not None
    assert row.figures["grant_rate"] > 0


@pytest.mark.parametrize(
    ("admitted", "verdict"),
    [
        pytest.param(600, "yes", id="all there was from the first try to the last answer"),
        pytest.param(601, "NO", id="one more"),
        pytest.param(585, "yes", id="all there was when the last try was refused"),
        pytest.param(579, "NO", id="more than one percent less"),
    ],
)
def test_a_late_answer_is_no_fault_of_a_store_and_one_unit_too_many_is(
    monkeypatch: pytest.MonkeyPatch, admitted: int, verdict: str
) -> None:
    monkeypatch.syspath_prepend(BENCH)
    exactness = importlib.import_module("admitting.exactness")
    table = importlib.import_module("admitting.table")
    granted_at_s = [number / 1000 for number in range(admitted)]
    told = exactness.Told(
        tries=9999,
        first_s=0.0,
        heard_s=0.05,
        refused_s=4.9,
        last_s=5.0,
        granted_at_s=granted_at_s,
    )
    contest = exactness.summed([told], bucket=True)
    row = table.Row(group="g", what="w", value=contest.ratio, bar=exactness.BAR)
    assert (contest.least, contest.most) == (pytest.approx(585), 600)
    assert row.verdict == verdict
