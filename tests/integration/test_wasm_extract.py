"""What the extractor makes of HTML, from snippet to expected result."""

from __future__ import annotations

import html
import string
from collections.abc import AsyncIterator
from html.entities import html5

import pytest

from tidegate.adapters.wasmtime.extractor import WasmExtractor, WasmExtractorFactory
from tidegate.ports.extractor import Extracted, Link

pytestmark = [pytest.mark.anyio, pytest.mark.needs("wasmtime")]

ROOT = "https://example.com/"
BASE = f"{ROOT}dir/page"


@pytest.fixture
async def extractor() -> AsyncIterator[WasmExtractor]:
    """An extractor that is closed after the test."""
    extractor = await WasmExtractorFactory().launch()
    yield extractor
    await extractor.close()


async def extract(extractor: WasmExtractor, page: str, base_url: str | None = BASE) -> Extracted:
    return await extractor.extract(page, base_url=base_url, timeout_us=30_000_000)


TEXTS = [
    ("", ""),
    ("  \n ", ""),
    ("plain", "plain"),
    ("  a \n\t b  ", "a b"),
    ("<p>one<p>two", "one\n\ntwo"),
    ("<p>one</p>\n\n<p>two</p>", "one\n\ntwo"),
    ("<div>one</div><div>two</div>", "one\ntwo"),
    ("<div><div><div>one</div></div></div>two", "one\ntwo"),
    ("<b>bo</b>ld <i> it</i>", "bold it"),
    ("a<br>b<br/>c<br><br>d<br><br><br>e", "a\nb\nc\n\nd\n\ne"),
    ("a</br>b", "a\nb"),
    ("<h1>head</h1>body", "head\n\nbody"),
    ("<ul><li>a<li>b</ul>c", "a\nb\n\nc"),
    ("<table><tr><td>a<td>b<tr><th>c<th>d</table>", "a\tb\nc\td"),
    ("<pre>\n a\n\tb </pre>c", "a\n\tb \n\nc"),
    ("x<pre>\n\n a\r\nb\rc</pre>", "x\n\n\n a\nb\nc"),
    ("<pre>x\n\n</pre>y", "x\n\ny"),
    ("<textarea>\n a <b>&amp;\n</textarea>x", "a <b>&\nx"),
    ("<xmp>a <b>&amp;</xmp>x", "a <b>&amp;\n\nx"),
    ("a<plaintext><b>&amp;</plaintext>", "a\n\n<b>&amp;</plaintext>"),
    ("a<script>b</script>c<style>d</style>e", "ace"),
    ("a<SCRIPT type=x>b</Script >c", "ac"),
    ("a<script>'</scrip' </script x>b", "ab"),
    ("a<script><!-- <script> </script> --></script>b", "ab"),
    ("a<script><!--> </script>b", "ab"),
    ("a<script><!-- </script>b", "ab"),
    ("a<script>never closed", "a"),
    ("a<noscript><p>b</noscript>c", "ac"),
    ("a<iframe>b</iframe>c<noframes>d</noframes><noembed>e</noembed>", "ac"),
    ("a<template>b<template>c</template>d</template>e", "ae"),
    ("a</template>b", "ab"),
    ("a<template><script></template></script>b", "a"),
    ("a<svg><text>b</text><svg/><svg></svg></svg>c", "ac"),
    ("a<svg/>b", "ab"),
    ("a<svg><path d='>'/><style>x<y</style></svg>b", "ab"),
    ("a<svg><circle><p>b", "a\n\nb"),
    ("a<svg><foreignObject><p>b</p><template></svg></template></foreignObject></svg>c", "ac"),
    ("a<svg><desc><title>x</desc></title></desc></svg>b", "ab"),
    ("a<svg><![CDATA[</svg>]]></svg>b", "ab"),
    ("a<![CDATA[b]]>c", "ac"),
    ("a<!-- b -- > c -->d", "ad"),
    ("a<!-->b<!--->c<!---->d<!--x--!>e<!--!>-->f", "abcdef"),
    ("a<!-- never closed", "a"),
    ("<!doctype html><?php x?>a<!x>b", "ab"),
    ("a</>b</ >c</3>d", "abcd"),
    ("1 < 2 <3 a<", "1 < 2 <3 a<"),
    ("a</", "a</"),
    ("a<b", "a"),
    ("a<b c='d", "a"),
    ("a<b c='>'>d", "ad"),
    ('a<b c=">"d>e', "ae"),
    ("a<b c=d'>e", "ae"),
    ("a<b =>c", "ac"),
    ("a<b c=>d", "ad"),
    ("a<b / c / >d", "ad"),
    ("a\0b<p\0>c", "abc"),
    ("<no-such-element-with-a-long-name>a</no-such-element-with-a-long-name>b", "ab"),
    ("<tdx>a<dd>b<tablet>c", "a\nbc"),
    ("a&nbsp;&#160; b", "a\xa0\xa0 b"),
    ("a&#32;&#10;&#x9;b", "a b"),
    ("ä€😀&euro;", "ä€😀€"),
]


@pytest.mark.parametrize(("page", "text"), TEXTS, ids=range(len(TEXTS)))
async def test_text(extractor: WasmExtractor, page: str, text: str) -> None:
    assert (await extract(extractor, page)).text == text


REFERENCES = [
    ("&amp;&lt;&gt;&quot;&apos;", "&<>\"'"),
    ("&amp;lt;", "&lt;"),
    ("&copy &copy; &copyx &notit; &notin;", "© © ©x ¬it; ∉"),
    ("&nosuch; & &; &&amp; &", "&nosuch; & &; && &"),
    ("&#65;&#x41;&#X41;&#65 &#65x", "AAAA Ax"),
    ("&#; &#x; &#xg; &#", "&#; &#x; &#xg; &#"),
    ("&#0;&#xD800;&#x110000;&#99999999999999999999;", "\ufffd" * 4),
    ("&#x10FFFF;&#x1F600;", "\U0010ffff😀"),
    ("&#128;&#x92;&#x9f;", "€\u2019Ÿ"),
    ("&#129;", "\x81"),
    ("&nGt;" * 100, "\u226b\u20d2" * 100),
]


@pytest.mark.parametrize(("page", "text"), REFERENCES, ids=range(len(REFERENCES)))
async def test_references(extractor: WasmExtractor, page: str, text: str) -> None:
    assert (await extract(extractor, page)).text == text


async def test_every_named_reference(extractor: WasmExtractor) -> None:
    page = " ".join(f"[&{name}]" for name in html5 if html5[name].strip(string.whitespace))
    assert (await extract(extractor, page)).text == html.unescape(page)


async def test_references_in_attributes(extractor: WasmExtractor) -> None:
    page = await extract(extractor, '<a href="/?a=1&copy=2&amp;b=&lt&notin=3&reg;">x</a>')
    assert page.links == (Link(href="https://example.com/?a=1&copy=2&b=<&notin=3®", text="x"),)


TITLES = [
    ("<title> a\n <b>&amp; </title>", "a <b>&"),
    ("<title>a</title><title>b</title>", "a"),
    ("<TITLE lang=x>a</titles></TITLE >", "a</titles>"),
    ("<title>not closed <p>x", "not closed <p>x"),
    ("<body><p>x<title>late</title>", "late"),
    ("<svg><title>image</title></svg><title>page</title>", "page"),
    ("<template><title>no</title></template>", ""),
    ("<title>a\0b</title>", "a\ufffdb"),
    ("<title> </title><h1>head</h1>", "head"),
    ("<h1>head</h1><meta property=og:title content=' og '>", "og"),
    ("<p>x</p><h1> a <b>b</b>\n</h1><h1>c</h1>", "a b"),
    ("<h2>x</h2><h1>not closed", "not closed"),
    ("<h1>a<h2>b", "a"),
    ("", ""),
]


@pytest.mark.parametrize(("page", "title"), TITLES, ids=range(len(TITLES)))
async def test_title(extractor: WasmExtractor, page: str, title: str) -> None:
    assert (await extract(extractor, page)).title == title


LINKS = [
    ("<a href=x>t</a>", [("https://example.com/dir/x", "t")]),
    ("<a href='/a b'> t\n<b>u</b> </a>v", [("https://example.com/a b", "t u")]),
    ("<A HREF=\"\tx\n&#9;y \">t</A>", [("https://example.com/dir/xy", "t")]),
    ("<base href=/><a href=1>a<a href=2>b</a>c", [(f"{ROOT}1", "a"), (f"{ROOT}2", "b")]),
    ("<a href=x><p>a</p><p>b</p></a>", [("https://example.com/dir/x", "a b")]),
    ("<a href=x>a<script>b</script>", [("https://example.com/dir/x", "a")]),
    ("<a href>t</a>", [(BASE, "t")]),
    ("<a name=x>t</a>", []),
    ("<a href=x href=y>t</a>", [("https://example.com/dir/x", "t")]),
    ("<a data-href=y href = x>t</a>", [("https://example.com/dir/x", "t")]),
    ("<a href=x/>t</a>", [("https://example.com/dir/x/", "t")]),
    ("<a href=x><img alt=i></a>", [("https://example.com/dir/x", "")]),
    ("<a href=' java\nscript:x'>t</a><a href=DATA:x>u</a>", []),
    ("<template><a href=x>t</a></template><svg><a href=y>u</a></svg>", []),
    ("<map><area href=x alt='&eacute; b'></map>", [("https://example.com/dir/x", "é b")]),
    ("<base href=/other/><base href=/no/><a href=x>t</a>", [("https://example.com/other/x", "t")]),
    ("<base href=javascript:x><a href=x>t</a>", [("https://example.com/dir/x", "t")]),
    ("<base href='http://['><a href=x>t</a>", [("https://example.com/dir/x", "t")]),
]  # fmt: skip


@pytest.mark.parametrize(("page", "links"), LINKS, ids=range(len(LINKS)))
async def test_links(extractor: WasmExtractor, page: str, links: list[tuple[str, str]]) -> None:
    found = (await extract(extractor, page)).links
    assert [(link.href, link.text) for link in found] == links


async def test_links_without_a_base(extractor: WasmExtractor) -> None:
    page = await extract(extractor, "<a href=x>t</a>", base_url=None)
    assert page.links == (Link(href="x", text="t"),)


METADATA = [
    ("<meta name=Description content=' a &amp; b '>", {"description": "a & b"}),
    ("<meta property='og:title' content=t>", {"og:title": "t"}),
    ("<meta http-equiv=refresh content=5>", {"refresh": "5"}),
    ("<meta property=og:x name=x content=y>", {"og:x": "y", "x": "y"}),
    ("<meta name=a content=1><meta name=A content=2>", {"a": "1"}),
    ("<meta name=a><meta content=b><meta name='' content=c><meta charset=d>", {}),
    ("<html lang=en><html lang=de>", {"lang": "en"}),
    ("<html><html lang=de><meta name=lang content=fr>", {"lang": "de"}),
    ("<link rel='x  Canonical' href=c>", {"canonical": "https://example.com/dir/c"}),
    ("<link rel=canonicals href=c><link rel=canonical>", {}),
    ("<link rel=canonical href=javascript:x>", {}),
    ("<link rel=canonical href=c><link rel=canonical href=d>", {"canonical": "https://example.com/dir/c"}),
    ("<svg><meta name=a content=b>", {"a": "b"}),
]  # fmt: skip


@pytest.mark.parametrize(("page", "metadata"), METADATA, ids=range(len(METADATA)))
async def test_metadata(extractor: WasmExtractor, page: str, metadata: dict[str, str]) -> None:
    assert (await extract(extractor, page)).metadata == metadata


async def test_what_is_too_much_is_left_out(extractor: WasmExtractor) -> None:
    links = "<a href=l>t</a>" * 10_001
    metas = "".join(f"<meta name=m{number} content=c>" for number in range(1001))
    long = f"<title>{'€' * 10_000}</title><meta name=d content='{'€' * 10_000}'>"
    too_long = f"<a href={'x' * 16_385}>no</a><meta name={'n' * 257} content=no>"
    page = await extract(extractor, long + too_long + links + metas)
    assert len(page.links) == 10_000
    assert {link.text for link in page.links} == {"t"}
    assert len(page.metadata) == 1000
    assert page.title == "€" * (16_384 // 3)
    assert page.metadata["d"] == page.title
    linked = await extract(extractor, f"<a href=x>{'€' * 5000}")
    assert linked.links[0].text == "€" * (4096 // 3)
    assert linked.text == "€" * 5000
