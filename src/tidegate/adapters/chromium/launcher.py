"""Finds Chromium, proves that its sandbox holds, and starts browsers.

One launcher per process and folder: its browsers share a Node driver, and each takes a slot,
which names its profile folder and, as root, its user.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.adapters.chromium.binary import find_binary
from tidegate.adapters.chromium.driver import Driver
from tidegate.adapters.chromium.flags import NOWHERE
from tidegate.adapters.chromium.jail import Jail, build_jail
from tidegate.adapters.chromium.slots import Slots
from tidegate.adapters.chromium.succession import Succession
from tidegate.adapters.chromium.watchdog import MemoryCaps
from tidegate.adapters.chromium.workdir import WorkDir
from tidegate.errors import BrowserUnavailable
from tidegate.ports.browser import BrowserReport

if TYPE_CHECKING:
    from tidegate.adapters.chromium.browser import ChromiumBrowser

_UP_S = 10.0


class ChromiumLauncher:
    """`BrowserLauncher` over playwright. Nothing is started before the first probe or launch.

    Args:
        work_dir: A folder for this launcher alone; it is locked, and wiped at start and stop.
        binary: The Chromium to use; looked for where None.
        sandbox: False only on the operator's word: pages are then confined by their user alone.
        uid_base: As root, browsers run as this user id plus their slot. These users must be ours:
            when a browser ends, all processes of its user are killed.
        user_agent: Added to the browser's own name, so that sites know who renders them.
        proxy_url: The guard, for what no page asked for. By default that goes nowhere.
        renderer_bytes_max: A renderer with more resident memory is killed.
        tree_bytes_max: A browser whose processes need more together is killed.
    """

    def __init__(
        self,
        *,
        work_dir: Path,
        binary: Path | None = None,
        sandbox: bool = True,
        uid_base: int = 70_000,
        user_agent: str = "",
        proxy_url: str = NOWHERE,
        renderer_bytes_max: int = 400 * 2**20,
        tree_bytes_max: int = 2**30,
    ) -> None:
        self._work = WorkDir(work_dir)
        self._drivers = Succession(self._work)
        self._binary, self._sandbox = binary, sandbox
        self._slots, self._proxy_url = Slots(uid_base), proxy_url
        self._user_agent = user_agent
        self._caps = MemoryCaps(renderer_bytes=renderer_bytes_max, tree_bytes=tree_bytes_max)
        self._scanner = ThreadPoolExecutor(1, thread_name_prefix="tidegate-chromium")
        self._starting: set[asyncio.Task[ChromiumBrowser]] = set()
        self._browsers: dict[int, ChromiumBrowser] = {}
        self._proven = False
        self._stopping: asyncio.Task[None] | None = None

    async def probe(self) -> BrowserReport:
        """Launch a browser, see that its sandbox holds, and end it. Never raises."""
        path: str | None = None
        try:
            path = str(find_binary(self._binary))
            browser = await self.launch()
            version = browser.version
            await browser.close()
        except Exception as error:
            return BrowserReport(
                usable=False, path=path, version=None, sandboxed=False, reason=str(error)
            )
        return BrowserReport(
            usable=True, path=path, version=version, sandboxed=self._proven, reason=None
        )

    async def launch(self) -> ChromiumBrowser:
        """Start one browser, as the port promises.

        Raises:
            ExtraMissing: playwright is not installed.
        """
        start = asyncio.create_task(self._start())
        self._starting.add(start)
        start.add_done_callback(self._starting.discard)
        try:
            async with asyncio.timeout(_UP_S):
                browser = await asyncio.shield(start)
                await self._prove(browser)
        except BaseException as error:
            # Nobody gets this browser, be it up or still on its way; playwright gives up in time.
            start.add_done_callback(_discard)
            if isinstance(error, TimeoutError):
                raise BrowserUnavailable(f"Chromium was not up within {_UP_S:g} s") from None
            raise
        return browser

    async def stop(self) -> None:
        """End every browser and the driver, and wipe the folder. Idempotent."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _start(self) -> ChromiumBrowser:
        """Start one browser. Not to be cancelled: playwright would lose it half-way."""
        if self._stopping is not None:
            raise BrowserUnavailable("the launcher was stopped")
        binary = find_binary(self._binary)
        driver = await self._drivers.enter()
        slot: int | None = None
        try:
            slot = self._slots.take()
            jail = build_jail(self._work, slot=slot, uid=self._slots.uid(slot), binary=binary)
            browser = await self._start_in(jail, driver)
        except BaseException:
            await self._leave(slot, driver)
            raise
        self._browsers[slot] = browser
        return browser

    async def _start_in(self, jail: Jail, driver: Driver) -> ChromiumBrowser:
        # Imported here, for both need playwright, and the driver has found it by now.
        from tidegate.adapters.chromium.browser import ChromiumBrowser, Parts
        from tidegate.adapters.chromium.start import start_chromium

        chromium, process = await start_chromium(
            driver, jail, sandbox=self._sandbox, proxy_url=self._proxy_url, within_s=_UP_S
        )
        return ChromiumBrowser(
            Parts(
                chromium=chromium,
                process=process,
                driver=driver,
                jail=jail,
                user_agent=self._user_agent,
                caps=self._caps,
                scanner=self._scanner,
                on_end=partial(self._leave, jail.slot, driver),
            )
        )

    async def _leave(self, slot: int | None, driver: Driver) -> None:
        if slot is not None:
            self._browsers.pop(slot, None)
            self._slots.give_back(slot)
        await self._drivers.leave(driver)

    async def _prove(self, browser: ChromiumBrowser) -> None:
        """Refuse the first browser whose renderer is not confined; later ones are its equals."""
        if self._proven or not self._sandbox:
            return
        if not await browser.is_sandboxed():
            raise BrowserUnavailable("Chromium's sandbox does not confine its renderers here")
        self._proven = True

    async def _stop(self) -> None:
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(browser.close() for browser in list(self._browsers.values())))
        await self._drivers.stop()
        self._scanner.shutdown(wait=False)
        await asyncio.to_thread(self._work.release)


def _discard(start: asyncio.Task[ChromiumBrowser]) -> None:
    """End a browser that nobody waits for any more. The launcher's `stop` waits for its end."""
    if not start.cancelled() and start.exception() is None:
        start.result().end("nobody waited for it")
