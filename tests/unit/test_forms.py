"""Compiled modules are used only while they were made from the Python files that are there."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tidegate import forms

SUFFIX = EXTENSION_SUFFIXES[0]
SOURCE = b"LEVEL = 1\n"


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A package of one hot module, with a compiled form of it and of what such modules share."""
    (tmp_path / "tidegate" / "domain").mkdir(parents=True)
    (tmp_path / "tidegate" / "domain" / "hot.py").write_bytes(SOURCE)
    folder = tmp_path / "tidegate" / "compiled"
    folder.mkdir()
    for name in ("tidegate.domain.hot", "shared__mypyc"):
        (folder / f"{name}{SUFFIX}").write_bytes(b"")
    listed = f"tidegate.domain.hot {zlib.crc32(SOURCE)}\nshared__mypyc\n"
    (folder / forms.LIST).write_text(listed)
    return folder


def found(compiled: Path) -> set[str]:
    return set(forms.fitting(compiled, compiled.parent))


def test_what_fits_is_found_by_name(compiled: Path) -> None:
    assert found(compiled) == {"tidegate.domain.hot", "shared__mypyc"}
    finder = forms.CompiledFinder(forms.fitting(compiled, compiled.parent))
    spec = finder.find_spec("tidegate.domain.hot")
    assert spec is not None
    assert spec.origin == str(compiled / f"tidegate.domain.hot{SUFFIX}")
    assert finder.find_spec("tidegate.domain.cold") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda compiled: (compiled.parent / "domain" / "hot.py").write_bytes(SOURCE + b"# new\n"),
        lambda compiled: (compiled.parent / "domain" / "hot.py").unlink(),
        lambda compiled: (compiled / f"shared__mypyc{SUFFIX}").unlink(),
        lambda compiled: (compiled / forms.LIST).write_text("tidegate.domain.hot no-number\n"),
        lambda compiled: (compiled / forms.LIST).unlink(),
    ],
    ids=["changed", "gone", "of another interpreter", "garbled", "half written"],
)
def test_if_one_does_not_fit_none_is_used(compiled: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(compiled)
    assert found(compiled) == set()


def test_the_python_files_can_be_asked_for() -> None:
    code = "import tidegate.forms, tidegate.adapters.memory.cells as cells;"
    code += "print(tidegate.forms.FORM, cells.__file__.rpartition('.')[2])"
    for pure, said in (("1", {"pure py"}), ("", {"pure py", "compiled so"})):
        env = {**os.environ, "TIDEGATE_PURE": pure}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert ran.stdout.strip() in said


def test_want_of_a_compiler_is_said_and_nothing_stale_stays(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "compile.py"
    into = tmp_path / "compiled"
    into.mkdir()
    command = [sys.executable, str(script), "--into", str(into)]
    env = {**os.environ, "CC": "no-such-compiler -O2"}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("Nothing is compiled, for want of a C compiler (no-such-compiler)")
    assert not into.exists()
    # There is nothing to do where there is nothing to do it with.
    subprocess.run([*command, "--check"], env=env, check=True)
