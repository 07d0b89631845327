"""What `tidegate serve --demo` opens for itself, and the lines it greets with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click
from msgspec.structs import replace

from tidegate.bootstrap import Settings
from tidegate.entrypoints.demo import DemoSite
from tidegate.facades.service import Service

TENANTS: Final = (("Acme", "free"), ("Globex", "basic"))
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
            f"Tidegate answers at {address}   documentation: {address}/docs",
            f"Admin key           {self._data_dir / 'admin.key'}",
            *(f"Tenant {name.lower():<12} {keys[name]}   (plan {plan})" for name, plan in TENANTS),
            "",
            "This is for trying out: data and keys are new at each start and thrown away at the",
            f"end, and the pages of {self._site.url('/')} may be fetched, also",
            "more often than one host usually may. Paste these:",
            "",
            *self._calls(address, keys["Acme"], browser),
            "",
            "Ctrl-C ends it.",
        ]
        click.echo("\n".join(lines))

    def _calls(self, address: str, key: str, no_browser: str | None) -> list[str]:
        render = self._call(address, key, "render", "/app", ', "format": "text"')
        if no_browser is not None:
            render = [
                f"# No usable browser ({no_browser}),",
                '# so this answer comes from a plain fetch and says "degraded": true.',
                *render,
            ]
        else:
            render = ["# A page that builds its title by JavaScript, rendered:", *render]
        return [
            *render,
            "",
            "# An article, extracted:",
            *self._call(address, key, "extract", "/article"),
            "",
            "# A PDF, read page by page:",
            *self._call(address, key, "pdf", "/sample.pdf"),
        ]

    def _call(self, address: str, key: str, work: str, path: str, more: str = "") -> list[str]:
        return [
            f"curl -sS {address}/v1/{work} -H 'Authorization: Bearer {key}' \\",
            "  -H 'Content-Type: application/json' \\",
            f"""  -d '{{"url": "{self._site.url(path)}"{more}}}'""",
        ]

    async def _browser(self, service: Service) -> str | None:
        """Return why there is no usable browser, or None if there is one."""
        try:
            async with asyncio.timeout(BROWSER_WAIT_S):
                report = await service.governed.browser()
        except TimeoutError:
            return "it is still being started"
        return None if report.usable else report.reason
