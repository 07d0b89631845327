"""One running Chromium behind the `Browser` port.

Whatever happens to a page, its context is closed before `render` ends, and a browser that cannot
close one within a second is killed: a page that spins or hoards must not outlive its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from playwright.async_api import Error

from tidegate.adapters.chromium.driver import Driver
from tidegate.adapters.chromium.handle import ProcessHandle
from tidegate.adapters.chromium.jail import Jail
from tidegate.adapters.chromium.processes import ProcessTree, is_confined
from tidegate.adapters.chromium.visit import Visit
from tidegate.adapters.chromium.watchdog import Breach, MemoryCaps, first_breach
from tidegate.domain.target import parse_url
from tidegate.errors import InvalidRequest, WorkerCrashed, WorkTimeout
from tidegate.ports.browser import PageRequest, RenderedPage
from tidegate.ports.egress_guard import Passage

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext

_CLOSE_S = 1.0
_END_S = 5.0
_LOOKS, _LOOK_S = 40, 0.05
_SIDE_PX_MAX = 4096

# What pages need to see to treat the engine as what it is; who drives it is named behind that.
_ENGINE = "Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a browser is made of. `on_end` is awaited once when all its processes are gone."""

    chromium: Browser
    process: ProcessHandle
    driver: Driver
    jail: Jail
    user_agent: str
    caps: MemoryCaps
    scanner: Executor
    on_end: Callable[[], Awaitable[None]]


class ChromiumBrowser:
    """`Browser`: a main process, its helpers, and a context per page."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tree = ProcessTree(leader=parts.process.pid, uid=parts.jail.uid)
        self._death: str | None = None
        self._troubles: set[asyncio.Future[None]] = set()
        self._disconnected = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        parts.chromium.on("disconnected", self._on_disconnected)
        parts.process.on_exit(self._on_exit)

    @property
    def pid(self) -> int:
        """Process id of the main process."""
        return self._tree.leader

    @property
    def alive(self) -> bool:
        """False from the moment the main process or the driver ended, or it was told to end."""
        parts = self._parts
        return self._death is None and parts.process.alive and parts.driver.alive

    @property
    def memory_bytes(self) -> int | None:
        """Memory of all its processes. Reads /proc for about a millisecond per process."""
        return self._tree.memory_bytes() if self.alive else None

    @property
    def version(self) -> str:
        """Version of Chromium."""
        return self._parts.chromium.version

    async def render(self, page: PageRequest, passage: Passage, *, timeout_us: int) -> RenderedPage:
        """Render one page, as the port promises."""
        page = _check(page)
        if not self.alive:
            raise WorkerCrashed(self._death or "the browser died")
        trouble: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._troubles.add(trouble)
        work = asyncio.create_task(self._work(page, passage, trouble))
        watch = asyncio.create_task(self._watch(trouble))
        try:
            async with asyncio.timeout(timeout_us / 1e6):
                await asyncio.wait((work, trouble), return_when=asyncio.FIRST_COMPLETED)
            if trouble.done():
                trouble.result()
            return work.result()
        except TimeoutError:
            raise WorkTimeout("render", timeout_us) from None
        finally:
            self._troubles.discard(trouble)
            trouble.cancel()
            watch.cancel()
            work.cancel()
            # Gathered, so that whatever they raised besides is looked at.
            await to_the_end(asyncio.gather(work, watch, trouble, return_exceptions=True))

    async def is_sandboxed(self) -> bool:
        """Render `about:blank` and see whether the kernel confines the process that did."""
        try:
            context = await self._parts.chromium.new_context()
            await (await context.new_page()).goto("about:blank")
            confined = await self._see_confined()
            await context.close()
        except Error:
            return False
        return confined

    async def close(self) -> None:
        """Kill the processes, wait until they are gone, remove the profile. Idempotent."""
        await to_the_end(self.end("the browser was closed"))

    async def _see_confined(self) -> bool:
        loop = asyncio.get_running_loop()
        for _ in range(_LOOKS):
            renderers = await loop.run_in_executor(self._parts.scanner, self._tree.renderers)
            if renderers and all(is_confined(pid) for pid in renderers):
                return True
            # Chromium keeps a spare renderer, which may be on its way into the sandbox just now.
            await asyncio.sleep(_LOOK_S)
        return False

    async def _work(
        self, page: PageRequest, passage: Passage, trouble: asyncio.Future[None]
    ) -> RenderedPage:
        def crashed(_: object) -> None:
            _fail(trouble, "the page's renderer died")

        # Shielded, for a context whose making was interrupted could not be closed.
        opening = asyncio.ensure_future(self._open(page, passage))
        try:
            context = await asyncio.shield(opening)
            tab = await context.new_page()
            tab.on("crash", crashed)
            return await Visit(tab, page, passage).render()
        except Error as error:
            raise WorkerCrashed("the browser or the page's renderer died") from error
        finally:
            await self._leave(opening)

    async def _open(self, page: PageRequest, passage: Passage) -> BrowserContext:
        context = await self._parts.chromium.new_context(
            accept_downloads=False,
            viewport={"width": page.width_px, "height": page.height_px},
            user_agent=f"{_ENGINE.format(self.version)} {self._parts.user_agent}".strip(),
            proxy={
                "server": passage.proxy_url,
                "username": passage.username,
                "password": passage.password,
            },
        )
        # One deadline rules: ours. playwright's own would cut longer ones short.
        context.set_default_timeout(0)
        return context

    async def _leave(self, opening: asyncio.Future[BrowserContext]) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                context = await opening
                await context.close()
        except TimeoutError:
            self.end("a page did not let itself be closed")
        except Error:
            # There is no context to close where the browser died or refused to make one.
            return

    async def _watch(self, trouble: asyncio.Future[None]) -> None:
        breach = await first_breach(self._tree, self._parts.caps, self._parts.scanner)
        _fail(trouble, breach.value)
        if breach is Breach.TREE:
            self.end(breach.value)

    def _on_disconnected(self, _: object) -> None:
        self._disconnected.set()
        self.end("the browser died")

    def _on_exit(self) -> None:
        self.end("the browser died")

    def end(self, reason: str) -> asyncio.Task[None]:
        """Begin to end the browser; the task is done when all of it is gone."""
        if self._ending is None:
            self._death = reason
            for trouble in self._troubles:
                _fail(trouble, reason)
            self._parts.process.kill()
            self._ending = asyncio.create_task(self._clear_away())
        return self._ending

    async def _clear_away(self) -> None:
        loop = asyncio.get_running_loop()
        gone = await loop.run_in_executor(None, lambda: self._tree.end(within_s=_END_S))
        if self._parts.driver.alive:
            # Node removes its own folders for this browser once it has seen the end.
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._disconnected.wait()
        self._parts.process.close()
        if gone:
            await loop.run_in_executor(None, self._parts.jail.wipe)
            await self._parts.on_end()


def _check(page: PageRequest) -> PageRequest:
    """The request with its URL in the spelling that limits and guard know it by."""
    target = parse_url(page.url)
    for side in ("width_px", "height_px"):
        if not 1 <= getattr(page, side) <= _SIDE_PX_MAX:
            raise InvalidRequest(side, getattr(page, side), f"1..{_SIDE_PX_MAX}")
    _, mark, fragment = page.url.partition("#")
    return replace(page, url=f"{target.url}{mark}{fragment}")


def _fail(trouble: asyncio.Future[None], reason: str) -> None:
    if not trouble.done():
        trouble.set_exception(WorkerCrashed(reason))


async def to_the_end(work: asyncio.Future[Any]) -> None:
    """Await `work` even while being cancelled; then pass the cancellation on."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
