"""What `tidegate serve --demo` opens for itself, and the lines it greets with."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from tidegate.bootstrap import Settings
from tidegate.entrypoints.cli.output import say
from tidegate.entrypoints.demo import DemoSite
from tidegate.facades.service import Service

TENANTS: Final = (("Acme", "free"), ("Globex", "basic"))
WIDTH = 100
BROWSER_WAIT_S = 5.0
"""How long the greeting waits to learn whether there is a browser."""


def opened_for(settings: Settings, port: int) -> Settings:
    """Return settings that let the demo's own pages be fetched, and fetched often."""
    site = f"127.0.0.1:{port}"
    return replace(
        settings,
        egress=replace(settings.egress, allow=(*settings.egress.allow, site)),
        hosts=replace(settings.hosts, units=100, period_s=1.0, burst=200),
    )


class Welcome:
    """The greeting: where everything is, and three calls that work when they are pasted."""

    def __init__(self, site: DemoSite, data_dir: Path) -> None:
        self._site, self._data_dir = site, data_dir

    async def say(self, service: Service, address: str) -> None:
        """Create the tenants and print the lines."""
        keys = {}
        for name, plan in TENANTS:
            _, keys[name] = await service.tenants.create(name=name, plan=plan, actor="demo")
        browser = await self._browser(service)
        lines = [
            "",
            f"Tidegate answers at  {address}",
            f"Documentation        {address}/docs",
            f"Demo pages           {self._site.url('/')}",
            f"Admin key            in {self._data_dir / 'admin.key'}",
            *(
                f"Tenant {name.lower():<13} key {keys[name]}  ({plan} plan)"
                for name, plan in TENANTS
            ),
            "",
            "A place to try things: data and keys are new at each start and gone at the end.",
            "Its pages may be fetched although they are on this machine, and often.",
            "",
            "Paste these into another terminal:",
            "",
            *self._calls(address, keys["Acme"], browser),
            "",
            "Ctrl-C ends it.",
            "",
        ]
        say("\n".join(lines))

    def _calls(self, address: str, key: str, no_browser: str | None) -> list[str]:
        if no_browser is None:
            title = ["# Render a page whose text is written by JavaScript"]
        else:
            title = [
                *_comment(f"There is no usable browser: {no_browser}"),
                '# So no script of this page is run, and the answer says "degraded": true',
            ]
        return [
            *title,
            self._call(address, key, "render", "/app", ', "format": "text"'),
            "",
            "# Extract the text and links of an article",
            self._call(address, key, "extract", "/article"),
            "",
            "# Read a PDF page by page",
            self._call(address, key, "pdf", "/sample.pdf"),
        ]

    def _call(self, address: str, key: str, work: str, path: str, more: str = "") -> str:
        """Return one line, so that it can be copied and searched for; it ends the answer's line."""
        return (
            f"curl -sS -w '\\n' {address}/v1/{work} -H 'Authorization: Bearer {key}' "
            "-H 'Content-Type: application/json' "
            f"""-d '{{"url": "{self._site.url(path)}"{more}}}'"""
        )

    async def _browser(self, service: Service) -> str | None:
        """Return why there is no usable browser, or None if there is one."""
        try:
            async with asyncio.timeout(BROWSER_WAIT_S):
                report = await service.governed.browser()
        except TimeoutError:
            return f"none was up within {BROWSER_WAIT_S:g} s"
        return None if report.usable else report.reason


def _comment(text: str) -> list[str]:
    """Return shell comments, of any text: what a program said may hold line ends."""
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), WIDTH - 2)]
