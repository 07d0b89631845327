"""How browsers begin and end: confined, poor in secrets, and without anything left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.browser.conftest import AS_ROOT, UID_BASE
from tests.browser.observe import modes, names, node_pid, owner, proc, real, running
from tests.browser.site import Site
from tidegate.adapters.chromium.binary import real_binary
from tidegate.adapters.chromium.launcher import ChromiumLauncher
from tidegate.adapters.chromium.processes import is_running
from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.errors import BrowserUnavailable, WorkerCrashed
from tidegate.ports.browser import PageRequest
from tidegate.ports.egress_guard import Passage

pytestmark = [pytest.mark.anyio, pytest.mark.needs("chromium", "playwright")]

SECRET = "TIDEGATE_TEST_SECRET"


ON_BOTH_LOOPS = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(
            ("asyncio", {"use_uvloop": True}), id="uvloop", marks=pytest.mark.needs("uvloop")
        ),
    ],
    scope="module",
)


@ON_BOTH_LOOPS
async def test_a_probe_proves_the_sandbox_and_leaves_nothing(work_dir: Path) -> None:
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    report = await launcher.probe()
    assert (report.usable, report.sandboxed, report.reason) == (True, True, None)
    assert report.path is not None
    assert report.path == str(real_binary(Path(report.path)))
    assert report.version is not None
    assert int(report.version.partition(".")[0]) > 100
    node = node_pid(work_dir)
    await launcher.stop()
    await launcher.stop()
    assert not is_running(node)
    assert names(work_dir) == ["lock"]
    with pytest.raises(BrowserUnavailable, match="stopped"):
        await launcher.launch()


@ON_BOTH_LOOPS
async def test_three_browsers_live_side_by_side(
    work_dir: Path, site: Site, guard: FilteringProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "hunter2")
    url = site.put("/hello", "hello")
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    try:
        browsers = await asyncio.gather(*(launcher.launch() for _ in range(3)))
        passages = [guard.open(f"tenant-{number}") for number in range(3)]
        work = (
            browser.render(PageRequest(url=url), passage, timeout_us=30_000_000)
            for browser, passage in zip(browsers, passages, strict=True)
        )
        assert [b"hello" in page.content for page in await asyncio.gather(*work)] == [True] * 3
        uids = {owner(browser.pid) for browser in browsers}
        assert uids == ({UID_BASE, UID_BASE + 1, UID_BASE + 2} if AS_ROOT else {os.geteuid()})
        for pid in (node_pid(work_dir), *(browser.pid for browser in browsers)):
            assert SECRET.encode() not in proc(pid, "environ")
        profiles = work_dir / "profiles"
        assert modes(profiles) == {"0": 0o700, "1": 0o700, "2": 0o700}
        memory = [browser.memory_bytes for browser in browsers]
        assert all(size is not None and 2**24 < size < 2**30 for size in memory)
        await browsers[1].close()
        await browsers[1].close()
        assert [browser.alive for browser in browsers] == [True, False, True]
        assert names(profiles) == ["0", "2"]
        assert (await launcher.launch()).alive
        assert names(profiles) == ["0", "1", "2"]
    finally:
        await launcher.stop()
    for browser in browsers:
        assert not running(browser.pid)
    assert names(work_dir) == ["lock"]


@ON_BOTH_LOOPS
async def test_a_dead_driver_is_replaced(work_dir: Path, site: Site, passage: Passage) -> None:
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    try:
        first = await launcher.launch()
        url = site.put("/mute", mute=True)
        task = asyncio.create_task(
            first.render(PageRequest(url=url), passage, timeout_us=30_000_000)
        )
        await asyncio.sleep(0.3)
        os.kill(node_pid(work_dir), signal.SIGKILL)
        with pytest.raises(WorkerCrashed):
            await task
        assert not first.alive
        second = await launcher.launch()
        page = PageRequest(url=site.put("/hello", "hello"))
        assert (await second.render(page, passage, timeout_us=30_000_000)).status == 200
        await first.close()
        assert not running(first.pid)
        assert second.alive
        # The first driver's folder went with it.
        assert len(names(work_dir, "node-*")) == 1
    finally:
        await launcher.stop()


async def test_a_launch_that_nobody_waits_for_leaves_no_browser(work_dir: Path) -> None:
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    try:
        kept = await launcher.launch()
        for delay_s in (0.0, 0.01, 0.1, 0.2):
            task = asyncio.create_task(launcher.launch())
            await asyncio.sleep(delay_s)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await (await task).close()
        async with asyncio.timeout(15):
            while len(names(work_dir / "profiles")) > 1:
                await asyncio.sleep(0.05)
        assert kept.alive
        task = asyncio.create_task(launcher.launch())
        await asyncio.sleep(0.05)
    finally:
        await launcher.stop()
    with pytest.raises((BrowserUnavailable, asyncio.CancelledError)):
        assert not (await task).alive
        raise BrowserUnavailable("it came up and was ended")


async def test_the_whole_tree_has_a_cap(work_dir: Path, site: Site, passage: Passage) -> None:
    launcher = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE, tree_bytes_max=64 * 2**20)
    try:
        browser = await launcher.launch()
        page = PageRequest(url=site.put("/mute", mute=True))
        with pytest.raises(WorkerCrashed, match="browser needed more memory"):
            await browser.render(page, passage, timeout_us=30_000_000)
        assert not browser.alive
        await browser.close()
        assert not running(browser.pid)
    finally:
        await launcher.stop()


async def test_one_folder_has_one_launcher(work_dir: Path) -> None:
    first = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE)
    second = ChromiumLauncher(work_dir=work_dir, uid_base=UID_BASE + 100)
    try:
        await first.launch()
        report = await second.probe()
        assert not report.usable
        assert report.reason is not None
        assert "another process uses" in report.reason
    finally:
        await second.stop()
        await first.stop()


async def test_two_services_do_not_end_each_other_s_browsers(work_dir: Path) -> None:
    first = ChromiumLauncher(work_dir=work_dir / "first", uid_base=UID_BASE)
    second = ChromiumLauncher(work_dir=work_dir / "second", uid_base=UID_BASE)
    try:
        kept, ended = await first.launch(), await second.launch()
        assert not AS_ROOT or owner(kept.pid) != owner(ended.pid)
        await ended.close()
        await asyncio.sleep(0.2)
        assert kept.alive
    finally:
        await second.stop()
        await first.stop()


@pytest.fixture
def private(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


async def test_a_private_folder_above_does_not_lock_browsers_out(
    private: Path, site: Site, passage: Passage
) -> None:
    launcher = ChromiumLauncher(work_dir=private / "data", uid_base=UID_BASE)
    try:
        browser = await launcher.launch()
        profiles = real(private / "data" / "profiles")
        assert names(profiles / "0")
        page = PageRequest(url=site.put("/hello", "hello"))
        assert (await browser.render(page, passage, timeout_us=30_000_000)).status == 200
    finally:
        await launcher.stop()
    assert not names(profiles)
    assert names(private / "data") == ["lock"]
