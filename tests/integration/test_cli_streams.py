"""The `tidegate` command where its standard streams or its patience fail it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.serving import COMMAND, DEADLINE_S, TRACEBACK, environment, tidegate


@pytest.mark.parametrize(
    "redirection", ["</dev/null", "<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"]
)
@pytest.mark.parametrize("command", ["--help", "tenant create Acme", "tenant list"])
def test_without_standard_streams(tmp_path: Path, redirection: str, command: str) -> None:
    env = environment(tmp_path)
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {COMMAND} {command} {redirection}"],
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert TRACEBACK not in ended.stderr + ended.stdout
    assert "Exception" not in ended.stderr + ended.stdout
    full = redirection == ">/dev/full" and command != "tenant list"
    assert ended.returncode == (1 if full else 0), ended.stderr
    if command == "tenant create Acme":
        with sqlite3.connect(tmp_path / "data" / "tidegate.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    env = environment(tmp_path)
    for number in range(3):
        assert tidegate("tenant", "create", f"T{number}", env=env).returncode == 0
    ended = subprocess.run(
        ["/bin/sh", "-c", f"{COMMAND} tenant list | true; exit 0"],
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.5, 1.0])
def test_a_start_that_is_interrupted(
    tmp_path: Path, number: signal.Signals, after_s: float
) -> None:
    """From the moment that our code has the data folder; before, it is the interpreter's affair."""
    env = environment(tmp_path, TIDEGATE_PORT="0")
    process = subprocess.Popen(
        [COMMAND, "serve", "--demo"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    temporary = tmp_path / "tmp"
    end_s = time.monotonic() + DEADLINE_S
    while not list(temporary.glob("tidegate-demo-*/lock")) and time.monotonic() < end_s:
        time.sleep(0.005)
    time.sleep(after_s)
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert err.replace("\n", "") == ""
    assert process.returncode in (0, 128 + number)
    assert list(temporary.iterdir()) == []
