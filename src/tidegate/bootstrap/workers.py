"""Pools of browsers, WASM instances and PDF workers, as the settings want them."""

from __future__ import annotations

from pathlib import Path

from tidegate.adapters.chromium.launcher import ChromiumLauncher
from tidegate.adapters.pdfium.pdf_reader import start_pdf_reader
from tidegate.adapters.wasmtime.extractor import WasmExtractorFactory
from tidegate.config.settings import BrowserSettings, ExtractSettings, PdfSettings
from tidegate.domain.pooling import PoolLimits
from tidegate.facades.pools import Pool
from tidegate.ports.browser import Browser
from tidegate.ports.clock import Clock
from tidegate.ports.extractor import Extractor
from tidegate.ports.pdf_reader import PdfReader

WARM_BROWSERS = 1
"""Browsers kept ready without demand: one start costs the first caller a tenth of its cap."""
BROWSER_IDLE_US = 300_000_000


def browsers(
    settings: BrowserSettings, work_dir: Path, user_agent: str, clock: Clock
) -> tuple[Pool[Browser], ChromiumLauncher]:
    """Return the pool, and the launcher that has to be stopped after it."""
    launcher = ChromiumLauncher(
        work_dir=work_dir,
        binary=Path(settings.path) if settings.path else None,
        sandbox=settings.sandbox,
        uid_base=settings.uid_base,
        user_agent=user_agent,
        tree_bytes_max=settings.memory_max_bytes,
    )
    limits = PoolLimits(
        size=settings.slots,
        keep_warm=min(WARM_BROWSERS, settings.slots),
        uses_max=settings.uses_max,
        idle_max_us=BROWSER_IDLE_US,
        memory_max_bytes=settings.memory_max_bytes,
    )
    return Pool("browser", start=launcher.launch, clock=clock, limits=limits), launcher


def extractors(settings: ExtractSettings, clock: Clock) -> Pool[Extractor]:
    """Return the pool of WASM instances."""
    factory = WasmExtractorFactory(memory_max_bytes=settings.memory_max_bytes)
    idle_max_us = round(settings.idle_max_s * 1e6)
    limits = PoolLimits(size=settings.instances, keep_warm=1, idle_max_us=idle_max_us)
    return Pool("wasm", start=factory.launch, clock=clock, limits=limits)


def pdf_readers(settings: PdfSettings, clock: Clock) -> Pool[PdfReader]:
    """Return the pool of PDF workers."""
    limits = PoolLimits(size=settings.workers, keep_warm=1, uses_max=settings.uses_max)
    return Pool("pdf", start=start_pdf_reader, clock=clock, limits=limits)
