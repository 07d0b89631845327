"""What one ordinary page costs: the extractor, and parsers that run without a sandbox.

Every round runs each of them once in turn, so that a busy machine slows all alike: compare ratios.
All give title, text and links. The extractor makes links absolute too, in a fresh store per page.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import statistics
import time
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser

from tidegate.adapters.wasmtime.extractor import WasmExtractor, WasmExtractorFactory

WORDS = ["the", "gate", "opens", "when", "the", "tide", "is", "low,", "&mdash;", "or", "waits"]
HIDDEN = {"script", "style"}

Run = Callable[[str], Awaitable[tuple[int, int]]]
"""Returns the length of the text and the number of links, to show that the work was done."""


def ordinary_page(size: int) -> str:
    """Return an article with navigation, styles, scripts and tables, of about that size."""
    links = "".join(
        f'<li class="nav"><a href="/section/{n}">Section {n}</a></li>' for n in range(60)
    )
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>An article</title>'
        '<meta name="description" content="What the tide brings"><style>'
        + ".a{color:#123;margin:0 auto}" * 200
        + "</style><script>"
        + 'window.x = {"a": "<b>", "c": [1, 2, 3]};' * 200
        + f"</script></head><body><nav><ul>{links}</ul></nav><main><h1>An article</h1>"
    )
    parts = [head]
    length = len(head)
    while length < size:
        n = len(parts)
        start = n % len(WORDS)
        words = " ".join((WORDS[start:] + WORDS[:start]) * 4)
        part = (
            f'<section id="s{n}"><h2 class="title">Part {n}</h2><p class="body text">{words} '
            f'<em>{n}</em> <a href="../part/{n}.html" rel="next">next</a></p><!-- part {n} -->'
            f"<table><tr><td>{n}</td><td>{n * n}</td></tr></table></section>\n"
        )
        parts.append(part)
        length += len(part)
    return "".join([*parts, "</main></body></html>"])


class Reader(HTMLParser):
    """The least that gives the same facts with the standard library."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.links: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in HIDDEN
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in HIDDEN

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text.append(data)


async def html_parser(page: str) -> tuple[int, int]:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return len(" ".join("".join(reader.text).split())), len(reader.links)


async def selectolax(page: str) -> tuple[int, int]:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(page)
    tree.strip_tags([*HIDDEN])
    links = [(node.attributes.get("href"), node.text()) for node in tree.css("a[href]")]
    return len(" ".join(tree.text().split())), len(links)


async def lxml(page: str) -> tuple[int, int]:
    from lxml import etree, html

    tree = html.document_fromstring(page)
    etree.strip_elements(tree, *HIDDEN, with_tail=False)
    links = [(node.get("href"), node.text_content()) for node in tree.iter("a")]
    return len(" ".join(tree.text_content().split())), len(links)


def wasm(extractor: WasmExtractor) -> Run:
    async def run(page: str) -> tuple[int, int]:
        result = await extractor.extract(
            page, base_url="https://example.com/a/b", timeout_us=30_000_000
        )
        return len(result.text), len(result.links)

    return run


async def measure(runs: dict[str, Run], page: str, rounds: int) -> None:
    """Print the median of each, and how many times the extractor's it is."""
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begun_s = time.perf_counter()
            await run(page)
            times_ms[name].append((time.perf_counter() - begun_s) * 1000)
    print(f"page of {len(page) // 1000} KB, {rounds} rounds")
    own_ms = statistics.median(times_ms["tidegate"])
    for name, run in runs.items():
        median_ms = statistics.median(times_ms[name])
        text, links = await run(page)
        facts = f"{text} characters, {links} links"
        print(f"  {name:12} {median_ms:8.2f} ms  {median_ms / own_ms:5.2f} x   {facts}")


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=40)
    rounds = arguments.parse_args().rounds
    extractor = await WasmExtractorFactory().launch()
    try:
        runs: dict[str, Run] = {"tidegate": wasm(extractor), "html.parser": html_parser}
        runs |= {
            name: run
            for name, run in {"selectolax": selectolax, "lxml": lxml}.items()
            if importlib.util.find_spec(name)
        }
        for size in (2_000, 200_000, 2_000_000):
            await measure(runs, ordinary_page(size), rounds)
    finally:
        await extractor.close()


if __name__ == "__main__":
    asyncio.run(main())
