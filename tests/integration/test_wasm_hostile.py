"""Pages of 50 MB and nesting a million deep: time stays linear, memory bounded, results right."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from tidegate.adapters.wasmtime.extractor import WasmExtractor, WasmExtractorFactory

pytestmark = [pytest.mark.anyio, pytest.mark.needs("wasmtime")]

SIZE = 50_000_000
# The slowest takes about a second on one core of 2024, and a quadratic one would take hours.
TIMEOUT_US = 30_000_000

UNITS = [
    "<a href=",
    '<a href="',
    "<a ",
    "<a b=c d='",
    "&",
    "&#",
    "&#x1",
    "&amp",
    "&CounterClockwiseContourIntegra",
    "<",
    "</",
    "</a",
    "<!",
    "<!-",
    "<!--",
    "<!-->-",
    "-->",
    "<?",
    "<![CDATA[",
    "<svg><![CDATA[",
    "<title>",
    "<title></titl",
    "<textarea>",
    "<script>",
    "<script><!--<script>",
    "<script><!--</script ",
    "<style></styl",
    "<template>",
    "<svg>",
    "<svg><desc>",
    "<pre>\n",
    "<a href=x>y",
    "<meta name=a content=b>",
    "<link rel=canonical href=>",
    "<link rel='canonicalcanonical",
    "<p>",
    "<br>x",
    "<td>x",
    " ",
    "\0",
    "\r\n",
    "é",
    "&nGt;",
    "x",
]


@pytest.fixture
async def extractor() -> AsyncIterator[WasmExtractor]:
    """An extractor that is closed after the test."""
    extractor = await WasmExtractorFactory().launch()
    yield extractor
    await extractor.close()


@pytest.mark.parametrize("unit", UNITS)
async def test_a_large_page_of_one_thing(extractor: WasmExtractor, unit: str) -> None:
    page = unit * (SIZE // len(unit.encode()))
    result = await extractor.extract(page, base_url=None, timeout_us=TIMEOUT_US)
    assert len(result.text.encode()) <= SIZE * 6 // 5
    assert len(result.links) <= 10_000
    assert extractor.memory_peak_bytes <= 128 * 2**20


@pytest.mark.parametrize("tag", ["div", "b", "a", "pre", "svg", "template", "ul", "h1", "x-y"])
async def test_nesting_costs_nothing(extractor: WasmExtractor, tag: str) -> None:
    page = f"<{tag} href=x>" * 1_000_000 + "deep" + f"</{tag}>" * 1_000_000 + "<p>end"
    begun_s = time.monotonic()
    result = await extractor.extract(page, base_url=None, timeout_us=TIMEOUT_US)
    assert time.monotonic() - begun_s < 10
    hidden = tag in {"svg", "template"}
    assert result.text.split() == (["end"] if hidden else ["deep", "end"])


async def test_time_is_linear(extractor: WasmExtractor) -> None:
    async def seconds(size: int) -> float:
        page = "<p class='a b'>some &eacute; <a href='/x?y=1&amp;z'>text</a></p>\n" * size
        begun_s = time.monotonic()
        await extractor.extract(page, base_url="https://example.com", timeout_us=TIMEOUT_US)
        return time.monotonic() - begun_s

    small = min([await seconds(20_000) for _ in range(5)])
    large = min([await seconds(320_000) for _ in range(3)])
    assert large < 16 * 5 * small
