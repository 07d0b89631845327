"""playwright's Node process, started without our environment and with a folder of its own.

It keeps our user, for it starts the browsers and becomes their users' parent, and it reads what
pages say; so at least no secret is in it. It leaves temporary folders behind when it is killed,
and it grows with every page, so a launcher replaces it now and then.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.adapters.chromium.handle import ProcessHandle
from tidegate.adapters.chromium.jail import clean_environment
from tidegate.adapters.chromium.processes import kill
from tidegate.adapters.chromium.workdir import WorkDir
from tidegate.errors import BrowserUnavailable, ExtraMissing

if TYPE_CHECKING:
    from playwright.async_api import BrowserType, Playwright

# playwright's own name for another Node to run; ours is a script around the one it brings.
_NODE_VARIABLE = "PLAYWRIGHT_NODEJS_PATH"
# 200 pages grew it by about 50 MiB, and a browser lives for some hundred pages.
_LAUNCHES_MAX = 10
_START_S = 8.0
_STOP_S = 2.0


class Driver:
    """A running Node process. `browsers` counts those that need it now."""

    def __init__(self, playwright: Playwright, process: ProcessHandle, home: Path) -> None:
        self._playwright, self._process, self._home = playwright, process, home
        self._launches = 0
        self.browsers = 0

    @property
    def chromium(self) -> BrowserType:
        """What starts browsers."""
        return self._playwright.chromium

    @property
    def alive(self) -> bool:
        """False once the process ended."""
        return self._process.alive

    @property
    def fresh(self) -> bool:
        """Whether it may start one more browser."""
        return self.alive and self._launches < _LAUNCHES_MAX

    def enter(self) -> None:
        """Count one more browser."""
        self._launches += 1
        self.browsers += 1

    async def stop(self) -> None:
        """End the process, by force when asking does not help. Never raises."""
        with suppress(Exception):
            async with asyncio.timeout(_STOP_S):
                await self._playwright.stop()
        self._process.kill()
        self._process.close()
        await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)


async def start_driver(work: WorkDir) -> Driver:
    """Start a Node process. Not to be cancelled: playwright would forget the process.

    Raises:
        ExtraMissing: playwright is not installed.
        BrowserUnavailable: its Node process did not start.
    """
    try:
        # In a thread: it takes a third of a second, and the event loop has requests to answer.
        await asyncio.to_thread(importlib.import_module, "playwright.async_api")
    except ImportError:
        raise ExtraMissing("browser") from None
    from playwright.async_api import async_playwright

    pid_file = work.path / "node.pid"
    home = Path(tempfile.mkdtemp(prefix="node-", dir=work.path))
    script = work.write_script("node.sh", _script(pid_file, home=home))
    try:
        with _node(script):
            async with asyncio.timeout(_START_S):
                manager = async_playwright()
                playwright = await manager.start()
        process = ProcessHandle(int(pid_file.read_text(encoding="ascii")))
    except Exception as error:
        # Any kind: when Node dies early, playwright raises what it was doing.
        with suppress(OSError, ValueError):
            kill(int(pid_file.read_text(encoding="ascii")))
        shutil.rmtree(home, ignore_errors=True)
        raise BrowserUnavailable(f"playwright's driver did not start: {error!r}") from error
    _read_errors(manager)
    return Driver(playwright, process, home)


def _read_errors(manager: object) -> None:
    """Look at the error that playwright keeps when Node dies and never reads itself.

    asyncio would report it as forgotten. Private to playwright; where it is not found, the
    report is all that happens.
    """
    transport = getattr(getattr(manager, "_client", None), "_transport", None)
    error = getattr(transport, "on_error_future", None)
    if isinstance(error, asyncio.Future):
        error.add_done_callback(lambda future: future.cancelled() or future.exception())


def _script(pid_file: Path, *, home: Path) -> str:
    command = shlex.join([*clean_environment(home=home), "PW_LANG_NAME=python", str(_node_path())])
    pid = shlex.quote(str(pid_file))
    return f'#!/bin/sh\necho $$ > {pid}\nexec {command} "$@"\n'


def _node_path() -> Path:
    import playwright

    configured = os.environ.get(_NODE_VARIABLE)
    if configured:
        return Path(configured)
    return Path(playwright.__file__).parent / "driver" / "node"


@contextmanager
def _node(script: Path) -> Iterator[None]:
    """Point playwright at our script while it starts; it offers no other way to choose Node."""
    before = os.environ.get(_NODE_VARIABLE)
    os.environ[_NODE_VARIABLE] = str(script)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NODE_VARIABLE]
        else:
            os.environ[_NODE_VARIABLE] = before
