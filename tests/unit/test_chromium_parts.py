"""Finding the binary, the folder and its lock, start scripts, processes, the memory rule."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.adapters.chromium import jail as jails
from tidegate.adapters.chromium import processes
from tidegate.adapters.chromium.binary import find_binary, real_binary
from tidegate.adapters.chromium.flags import switches
from tidegate.adapters.chromium.handle import ProcessHandle
from tidegate.adapters.chromium.jail import build_jail
from tidegate.adapters.chromium.processes import ProcessTree
from tidegate.adapters.chromium.slots import Slots
from tidegate.adapters.chromium.watchdog import Breach, MemoryCaps, enforce
from tidegate.adapters.chromium.workdir import WorkDir
from tidegate.errors import BrowserUnavailable

ELF = b"\x7fELF and the rest"
MIB = 2**20


def put(path: Path, content: bytes, *, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_scripts_and_links_are_followed_to_the_binary(tmp_path: Path) -> None:
    binary = put(tmp_path / "lib/chromium/chromium", ELF)
    named = put(tmp_path / "bin/named", f"#!/bin/sh\nexec {binary} $@\n".encode())
    home = put(tmp_path / "bin/chromium", f"#!/bin/sh\nLIB={binary.parent}\n".encode())
    beside = put(tmp_path / "lib/chromium/start", b'#!/bin/sh\nexec "$HERE/chrome"\n')
    link = tmp_path / "bin/link"
    link.symlink_to(named)
    for found in (binary, named, home, beside, link):
        assert real_binary(found) == binary


@pytest.mark.parametrize(
    ("content", "mode"),
    [(b"#!/bin/sh\necho use snap\n", 0o755), (b"plain text", 0o755), (ELF, 0o644)],
)
def test_what_leads_to_no_binary(tmp_path: Path, content: bytes, mode: int) -> None:
    path = put(tmp_path / "chromium-stub", content, mode=mode)
    with pytest.raises(BrowserUnavailable, match="no Chromium that can be executed"):
        find_binary(path)
    with pytest.raises(BrowserUnavailable):
        find_binary(tmp_path / "absent")


def test_path_goes_before_the_cache_of_playwright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "cache"))
    with pytest.raises(BrowserUnavailable, match="no Chromium found"):
        find_binary(None)
    shell = "chromium_headless_shell-1/chrome-headless-shell-linux64/chrome-headless-shell"
    cached = put(tmp_path / "cache" / shell, ELF)
    assert find_binary(None) == cached
    on_path = put(tmp_path / "bin/google-chrome", ELF)
    assert find_binary(None) == on_path
    put(tmp_path / "bin/chromium-headless-shell", b"#!/bin/sh\nexit 1\n")
    assert find_binary(None) == on_path


def test_only_the_guard_s_own_host_may_be_resolved() -> None:
    rules = next(flag for flag in switches("http://10.1.2.3:80") if "resolver" in flag)
    assert rules.endswith("=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE 10.1.2.3")


def test_a_folder_is_locked_and_wiped(tmp_path: Path) -> None:
    put(tmp_path / "old/deep/file", b"x")
    put(tmp_path / "file", b"x")
    (tmp_path / "link").symlink_to("/etc")
    first, second = WorkDir(tmp_path), WorkDir(tmp_path)
    first.acquire()
    first.acquire()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "profiles"]
    with pytest.raises(BrowserUnavailable, match="another process uses"):
        second.acquire()
    second.release()
    first.release()
    first.release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    second.acquire()
    second.release()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    put(tmp_path / "file", b"x")
    with pytest.raises(BrowserUnavailable, match="unusable"):
        WorkDir(tmp_path / "file" / "below").acquire()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[WorkDir]:
    work = WorkDir(tmp_path / "a folder's name")
    work.acquire()
    yield work
    work.release()


def test_a_browser_starts_with_an_environment_of_its_own(
    work: WorkDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_TEST_SECRET", "hunter2")
    uid = 80_003 if os.geteuid() == 0 else None
    jail = build_jail(work, slot=3, uid=uid, binary=Path("/usr/bin/env"))
    # `env` stands for the browser: the option at the end makes it fail, but says who it is.
    run = subprocess.run([jail.script], capture_output=True, text=True, check=False)
    assert f"--user-data-dir={jail.profile}" in run.stderr
    assert jail.pid() > 0
    text = jail.script.read_text()
    assert "hunter2" not in text
    assert ("--reuid=80003" in text) == (uid is not None)
    jail.wipe()
    assert not jail.profile.exists()
    with pytest.raises(OSError, match="No such file"):
        jail.pid()


@pytest.mark.needs("root")
def test_root_must_be_able_to_become_somebody_else(
    work: WorkDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BrowserUnavailable, match="cannot be had"):
        build_jail(work, slot=0, uid=2**32, binary=Path("/usr/bin/env"))
    monkeypatch.setattr(jails, "SYSTEM_PATH", str(work.path))
    with pytest.raises(BrowserUnavailable, match="setpriv"):
        build_jail(work, slot=0, uid=80_000, binary=Path("/usr/bin/env"))


@pytest.mark.parametrize("euid", [0, 1000])
def test_slots_are_shared_by_nobody(monkeypatch: pytest.MonkeyPatch, euid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    first, second = Slots(2_000_000), Slots(2_000_000)
    users = [slots.uid(slots.take()) for slots in (first, second, first)]
    assert users == ([2_000_000, 2_000_001, 2_000_002] if euid == 0 else [None] * 3)
    first.give_back(0)
    first.give_back(0)
    assert second.take() == (0 if euid == 0 else 1)
    for slot in range(3):
        first.give_back(slot)
        second.give_back(slot)


def test_slots_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    slots = Slots(2_001_000)
    taken = [slots.take() for _ in range(256)]
    with pytest.raises(BrowserUnavailable, match="no user is free from 2001000 on"):
        slots.take()
    for slot in taken:
        slots.give_back(slot)


HOARDER = "import sys; x = bytearray(int(sys.argv[1])); print(flush=True); sys.stdin.read()"
LEADER = f"""
import subprocess, sys
for kind in ("renderer", "utility"):
    command = [sys.executable, "-c", {HOARDER!r}, "{96 * MIB}", "--type=" + kind]
    child = subprocess.Popen(command, stdin=0, stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def tree() -> Iterator[tuple[ProcessTree, dict[str, int]]]:
    """A session of three: a leader, a renderer of 96 MiB, and a helper of the same size."""
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert leader.stdout is not None
    renderer, utility = (int(leader.stdout.readline()) for _ in range(2))
    tree = ProcessTree(leader=leader.pid, uid=None)
    yield tree, {"renderer": renderer, "utility": utility}
    tree.end(within_s=10)
    leader.communicate()


def test_the_memory_rule(tree: tuple[ProcessTree, dict[str, int]]) -> None:
    processes_, pid = tree
    assert set(processes_.pids()) == {processes_.leader, *pid.values()}
    assert processes_.renderers() == [pid["renderer"]]
    assert 192 * MIB < processes_.memory_bytes() < 300 * MIB
    assert enforce(processes_, MemoryCaps()) is None
    # Only the sum is above: both count what they share, but the proportional size decides.
    assert enforce(processes_, MemoryCaps(tree_bytes=100 * MIB)) is Breach.TREE
    assert processes.is_running(pid["renderer"])
    assert enforce(processes_, MemoryCaps(renderer_bytes=64 * MIB)) is Breach.RENDERER
    assert processes_.end(within_s=10)
    assert not any(processes.is_running(one) for one in (processes_.leader, *pid.values()))


def test_a_process_that_is_gone_has_nothing() -> None:
    ended = subprocess.Popen(["true"])
    handle = ProcessHandle(ended.pid)
    ended.wait()
    assert not handle.alive
    handle.kill()
    handle.close()
    handle.close()
    assert not handle.alive
    handle.kill()
    assert processes.resident_bytes(ended.pid) == 0
    assert processes.proportional_bytes(ended.pid) == 0
    assert not processes.is_running(ended.pid)
    assert not processes.is_confined(ended.pid)
    processes.kill(ended.pid)
    with pytest.raises(ProcessLookupError):
        ProcessHandle(ended.pid)


def test_what_cannot_be_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    monkeypatch.setattr(processes, "kill", lambda pid: None)
    assert not ProcessTree(leader=sleeper.pid, uid=None).end(within_s=0.05)
    monkeypatch.undo()
    assert ProcessTree(leader=sleeper.pid, uid=None).end(within_s=10)
    # It was our child, so it was reaped with the rest, as orphans are in a container.
    assert sleeper.poll() is not None
