"""The scripts behind `make install`, run with made-up interpreters and package managers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
DEBIAN = 'ID=debian\nVERSION_ID="12"\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
TOOLS = ("cat", "env", "grep", "id", "mktemp", "rm", "sed", "tail")


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A PATH that holds the few tools that the scripts need, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = next(
            Path(place, tool) for place in ("/usr/bin", "/bin") if Path(place, tool).exists()
        )
        (folder / tool).symlink_to(found)
    return folder


def put(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def run(script: str, *arguments: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": str(path), "HOME": str(path.parent), **env}
    command = ["/bin/sh", str(SCRIPTS / script), *arguments]
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)


def put_python(folder: Path, name: str, *, version_ok: bool = True, venv: bool = True) -> None:
    """An interpreter that answers the three questions of the script."""
    answers = {"version_info": version_ok, "ensurepip": venv}
    cases = "".join(f"*{word}*) exit {int(not ok)};;\n" for word, ok in answers.items())
    put(folder, name, f'case "$2" in\n{cases}*) echo /opt/{name};;\nesac')


def test_find_python_takes_the_newest_that_works(bin_folder: Path) -> None:
    put(bin_folder, "python3.13", "echo not installed >&2; exit 127")
    put_python(bin_folder, "python3.12", venv=False)
    put_python(bin_folder, "python3.11")
    put_python(bin_folder, "python3", version_ok=False)
    result = run("find-python.sh", path=bin_folder)
    assert (result.returncode, result.stdout) == (0, "/opt/python3.11\n")


def test_find_python_obeys(bin_folder: Path) -> None:
    put_python(bin_folder, "python3.13")
    result = run("find-python.sh", path=bin_folder, PYTHON=sys.executable)
    assert Path(result.stdout.strip()).samefile(sys.executable)
    result = run("find-python.sh", path=bin_folder, PYTHON="/nowhere/python")
    assert result.returncode == 1
    assert "PYTHON=/nowhere/python" in result.stderr


@pytest.mark.parametrize(
    ("version_ok", "sentence"),
    [(True, "python3 has no venv"), (False, "No Python 3.11 or newer was found")],
)
def test_find_python_says_what_to_do(bin_folder: Path, version_ok: bool, sentence: str) -> None:
    put_python(bin_folder, "python3", version_ok=version_ok, venv=False)
    result = run("find-python.sh", path=bin_folder)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "apt-get install python3-venv" in result.stderr


@pytest.fixture
def machine(bin_folder: Path, tmp_path: Path) -> Path:
    """A Debian with apt-get that writes down what it is asked, run by root."""
    put(bin_folder, "apt-get", f'echo "$@" >>{tmp_path}/asked; exit ${{APT_STATUS:-0}}')
    put(bin_folder, "apt-cache", 'echo "  Candidate: ${CANDIDATE:-156}"')
    (bin_folder / "id").unlink()
    put(bin_folder, "id", "echo ${AS_USER:-0}")
    (tmp_path / "os-release").write_text(DEBIAN)
    return bin_folder


def get_browser(machine: Path, **env: str) -> tuple[str, list[str]]:
    """What the script said, and what it asked of the package manager."""
    folder = machine.parent
    result = run("browser.sh", "install", path=machine, OS_RELEASE=f"{folder}/os-release", **env)
    assert result.returncode == 0, result.stderr
    asked = folder / "asked"
    lines = asked.read_text().splitlines() if asked.exists() else []
    return result.stdout, [line.split()[-1] if "install" in line else "update" for line in lines]


def test_browser_is_installed_and_announced(machine: Path) -> None:
    said, asked = get_browser(machine)
    assert asked == ["fonts-dejavu-core"]
    assert "apt-get install --no-install-recommends chromium-headless-shell" in said
    assert "65 to 120 MB to download" in said


def test_package_lists_are_refreshed_only_if_the_package_is_unknown(machine: Path) -> None:
    said, asked = get_browser(machine, CANDIDATE="(none)")
    assert asked == ["update", "fonts-dejavu-core"]
    assert "asking the system: apt-get update" in said


@pytest.mark.parametrize(
    ("release", "env", "sentence"),
    [
        (UBUNTU, {}, "install Chromium or Chrome yourself"),
        (DEBIAN, {"AS_USER": "1000"}, "As root: apt-get install"),
    ],
)
def test_browser_that_cannot_be_had_is_one_sentence(
    machine: Path, release: str, env: dict[str, str], sentence: str
) -> None:
    (machine.parent / "os-release").write_text(release)
    said, asked = get_browser(machine, **env)
    assert asked == []
    assert sentence in said
    assert "plain fetch" in said


def test_a_failing_package_manager_does_not_stop_the_install(machine: Path) -> None:
    said, _ = get_browser(machine, APT_STATUS="100")
    assert "Chromium could not be installed." in said


def test_passwordless_sudo_is_used(machine: Path) -> None:
    put(machine, "sudo", 'shift; exec "$@"')
    (machine / "true").symlink_to("/bin/true")
    _, asked = get_browser(machine, AS_USER="1000")
    assert asked == ["fonts-dejavu-core"]


@pytest.mark.parametrize("present", ["chromium", "google-chrome", None])
def test_browser_that_is_there_is_found(machine: Path, present: str | None) -> None:
    if present:
        put(machine, present, "exit 0")
    assert run("browser.sh", "found", path=machine).returncode == int(present is None)
    assert run("browser.sh", "found", path=machine, TIDEGATE_SKIP_BROWSER="1").returncode == 0


def test_every_script_is_executable_and_parses() -> None:
    for script in sorted(SCRIPTS.glob("*.sh")):
        assert os.access(script, os.X_OK) == (script.name != "steps.sh"), script
        subprocess.run(["/bin/sh", "-n", str(script)], check=True)
