"""What a browser may be started from and as, and what it takes with it when we die."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import AS_ROOT, UID_BASE
from tests.browser.observe import names, node_pid, owner, proc, running, wait_until_gone
from tidegate.adapters.chromium import browser as browsers
from tidegate.adapters.chromium.launcher import ChromiumLauncher
from tidegate.adapters.chromium.processes import is_running
from tidegate.errors import BrowserUnavailable, ExtraMissing

pytestmark = [pytest.mark.anyio, pytest.mark.needs("chromium", "playwright")]


@pytest.mark.parametrize("sandbox", [True, False])
async def test_no_sandbox_only_on_request(work_dir: Path, sandbox: bool) -> None:
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE, sandbox=sandbox)
    try:
        browser = await launcher.launch()
        command = proc(browser.pid, "cmdline").split(b"\0")
        assert (b"--no-sandbox" in command) is not sandbox
        assert await browser.is_sandboxed() is sandbox
        assert (await launcher.probe()).sandboxed is sandbox
    finally:
        await launcher.stop()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\nexit 7\n", "no Chromium that can be executed"),
        (None, "no Chromium that can be executed"),
    ],
)
async def test_a_binary_that_is_none(work_dir: Path, script: str | None, reason: str) -> None:
    binary = work_dir.parent / "chromium-headless-shell"
    if script is not None:
        binary.write_text(script)
        binary.chmod(0o755)
    launcher = ChromiumLauncher(work_dir=work_dir, binary=binary, uid_base=UID_BASE)
    report = await launcher.probe()
    assert (report.usable, report.path) == (False, None)
    assert report.reason is not None
    assert reason in report.reason
    await launcher.stop()


async def test_a_binary_that_does_not_come_up(work_dir: Path) -> None:
    binary = shutil.which("true")
    assert binary is not None
    launcher = ChromiumLauncher(work_dir=work_dir, binary=Path(binary), uid_base=UID_BASE)
    report = await launcher.probe()
    assert not report.usable
    assert report.reason is not None
    assert report.reason.startswith("Chromium did not start")
    await launcher.stop()


async def test_a_driver_that_does_not_come_up(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = shutil.which("false")
    assert node is not None
    monkeypatch.setenv("PLAYWRIGHT_NODEJS_PATH", node)
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    report = await launcher.probe()
    assert not report.usable
    assert report.reason is not None
    assert report.reason.startswith("playwright's driver did not start")
    assert os.environ["PLAYWRIGHT_NODEJS_PATH"] == node
    assert not names(work_dir, "node-*")
    monkeypatch.undo()
    # The next one is not held up by the last.
    assert (await launcher.probe()).usable
    await launcher.stop()


async def test_without_playwright_it_is_named(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "playwright.async_api", None)
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    with pytest.raises(ExtraMissing, match=r"tidegate\[browser\]"):
        await launcher.launch()
    assert not (await launcher.probe()).usable
    await launcher.stop()


async def test_an_unconfined_renderer_is_refused(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsers, "is_confined", lambda pid: False)
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    with pytest.raises(BrowserUnavailable, match="does not confine"):
        await launcher.launch()
    pid = int((work_dir / "browser-0.pid").read_text())
    await launcher.stop()
    assert not running(pid)


CHILD = """
import asyncio, os, sys
from pathlib import Path
from tidegate.adapters.chromium import browser as browsers
from tidegate.adapters.chromium.launcher import ChromiumLauncher

async def main(folder, stay):
    launcher = ChromiumLauncher(work_dir=Path(folder), uid_base=int(sys.argv[2]))
    report = await launcher.probe()
    browser = await launcher.launch()
    if stay:
        print(browser.pid, report.sandboxed, flush=True)
        await asyncio.sleep(60)
    await launcher.stop()

if len(sys.argv) > 3:
    # Once as we are, for Python may lie where the other user cannot import from.
    asyncio.run(main(sys.argv[1], False))
    os.chown(Path(sys.argv[1]), *[int(sys.argv[3])] * 2)
    Path(sys.argv[1], "lock").unlink()
    os.setgroups([])
    os.setresgid(*[int(sys.argv[3])] * 3)
    os.setresuid(*[int(sys.argv[3])] * 3)
asyncio.run(main(sys.argv[1], True))
"""


@pytest.fixture
def child(work_dir: Path, user: int | None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD, str(work_dir), str(UID_BASE + 200)]
    command += [] if user is None else [str(user)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(None, id="as ourselves"),
        pytest.param(UID_BASE + 300, id="as an ordinary user", marks=pytest.mark.needs("root")),
    ],
)
async def test_our_own_sudden_death_leaves_no_browser(
    child: subprocess.Popen[str], work_dir: Path, user: int | None
) -> None:
    assert child.stdout is not None
    pid, sandboxed = child.stdout.readline().split()
    assert sandboxed == "True"
    uid = (UID_BASE + 200 if AS_ROOT else os.geteuid()) if user is None else user
    assert owner(int(pid)) == uid
    assert len(running(int(pid))) > 3
    node = node_pid(work_dir)
    child.kill()
    wait_until_gone(int(pid))
    wait_until_gone(node)
    # What it left in the folder is wiped by whoever comes next.
    assert names(work_dir, "node-*")
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    try:
        assert (await launcher.launch()).alive
        assert len(names(work_dir, "node-*")) == 1
    finally:
        await launcher.stop()


@pytest.fixture
def stray() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the first browser's user in a session of its own."""
    process = subprocess.Popen(
        ["sleep", "60"], user=UID_BASE, group=UID_BASE, extra_groups=[], start_new_session=True
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.needs("root")
async def test_a_process_that_left_the_session_is_killed_too(
    work_dir: Path, stray: subprocess.Popen[bytes]
) -> None:
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    try:
        browser = await launcher.launch()
        assert is_running(stray.pid)
        await browser.close()
        assert not is_running(stray.pid)
    finally:
        await launcher.stop()
