"""Starts one Chromium through the driver, and says in one sentence why it did not start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import Error

from tidegate.adapters.chromium.driver import Driver
from tidegate.adapters.chromium.flags import switches
from tidegate.adapters.chromium.handle import ProcessHandle
from tidegate.adapters.chromium.jail import Jail
from tidegate.errors import BrowserUnavailable

if TYPE_CHECKING:
    from playwright.async_api import Browser

# How playwright marks, in the log it adds to its error, what the browser itself wrote.
_COMPLAINT = "[err]"


async def start_chromium(
    driver: Driver, jail: Jail, *, sandbox: bool, proxy_url: str, within_s: float
) -> tuple[Browser, ProcessHandle]:
    """Start the browser of a jail.

    Raises:
        BrowserUnavailable: it did not come up.
    """
    try:
        chromium = await driver.chromium.launch(
            executable_path=jail.script,
            args=switches(proxy_url),
            chromium_sandbox=sandbox,
            proxy={"server": proxy_url},
            # Signals are the service's business: it may want to finish its pages first.
            handle_sigint=False,
            handle_sigterm=False,
            handle_sighup=False,
            timeout=within_s * 1000,
        )
    except Error as error:
        raise BrowserUnavailable(f"Chromium did not start: {_cause(error.message)}") from error
    try:
        return chromium, ProcessHandle(jail.pid())
    except (OSError, ValueError) as error:
        raise BrowserUnavailable("Chromium ended as soon as it was up") from error


def _cause(message: str) -> str:
    lines = message.splitlines()
    complaints = [line.partition(_COMPLAINT)[2].strip() for line in lines if _COMPLAINT in line]
    return next(filter(None, complaints), lines[0] if lines else "no reason given")
