"""Random pages never crash the extractor; simple ones it reads as the standard library does."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.adapters.wasmtime.epochs import Call
from tidegate.adapters.wasmtime.extractor import MEMORY_MAX_BYTES
from tidegate.adapters.wasmtime.page import assemble, encode
from tidegate.domain.charset import decode_html
from tidegate.ports.extractor import Extracted

pytestmark = pytest.mark.needs("wasmtime")

TIMEOUT_US = 10_000_000
NAMES = ["a", "area", "b", "base", "br", "desc", "foreignObject", "h1", "html", "link", "meta", "p"]
NAMES += ["plaintext", "pre", "script", "style", "svg", "table", "td", "template", "textarea"]
NAMES += ["title", "tr", "xmp", "x" * 20, "", "!"]
VALUES = ["x", "canonical", "/a?b=1&copy=2", "&amp;", "'", '"', "\0", "é", "http://[", "//", ""]
FRAGMENTS = st.one_of(
    st.sampled_from(NAMES).map(lambda name: f"<{name}>"),
    st.sampled_from(NAMES).map(lambda name: f"</{name}>"),
    st.builds(
        "<{} {}{}{}{}".format,
        st.sampled_from(NAMES),
        st.sampled_from(["href", "rel", "name", "content", "lang", "alt", "property", "x"]),
        st.sampled_from(["=", " = ", "='", '="', ""]),
        st.sampled_from(VALUES),
        st.sampled_from([">", "'>", '">', "/>", " ", ""]),
    ),
    st.sampled_from(["<!--", "-->", "--!>", "<![CDATA[", "]]>", "<!", "<?", "<", "&", ">", "\r\n"]),
    st.sampled_from(["&amp;", "&notit;", "&#x", "&#0;", "&#128;", "&nGt;", "&eacute", "\ud800"]),
    st.text(max_size=20),
)
SOUP = st.lists(FRAGMENTS, max_size=60).map("".join)
settings.register_profile("sandbox", deadline=None, max_examples=300)


def extract(page: str, base_url: str | None = "https://example.com/") -> Extracted:
    from tidegate.adapters.wasmtime.sandbox import Sandbox, shipped_code

    sandbox = Sandbox(shipped_code(), memory_max_bytes=MEMORY_MAX_BYTES)
    call = Call(TIMEOUT_US)
    raw = sandbox.run(list(encode(page)), call)
    return assemble(raw, base_url=base_url, check=call.check)


class Reader(HTMLParser):
    """Collects all text that is not in a script or style."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in {"script", "style", "title"}

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in {"script", "style", "title"}

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.pieces.append(data)


def read(page: str) -> str:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return "".join(reader.pieces)


@settings(settings.get_profile("sandbox"), suppress_health_check=[HealthCheck.too_slow])
@given(page=SOUP)
def test_any_soup_is_read(page: str) -> None:
    begun_s = time.monotonic()
    result = extract(page)
    assert time.monotonic() - begun_s < 5
    for text in (result.title, result.text, *result.metadata, *result.metadata.values()):
        assert text.encode().decode() == text.strip(" \t\n\r\f")
    for link in result.links:
        assert not link.href.lower().startswith(("javascript:", "data:"))


@settings(settings.get_profile("sandbox"))
@given(body=st.binary(max_size=3000), declared=st.sampled_from([None, "utf-16", "gbk", "x"]))
def test_any_bytes_are_read(body: bytes, declared: str | None) -> None:
    extract(decode_html(body, declared), base_url=None)


INLINE = st.recursive(
    st.one_of(
        st.text("abc xyz\n\té€😀", min_size=1, max_size=12),
        st.sampled_from(["&amp;", "&lt;b&gt;", "&eacute;", "&#8364;", "<br>", "<!-- c -->"]),
    ),
    lambda inner: st.builds(
        lambda name, parts: f'<{name} class="x > y">{"".join(parts)}</{name}>',
        st.sampled_from(["b", "i", "span", "div", "p", "li", "ul", "h2", "section", "no-such"]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=20,
)


@settings(settings.get_profile("sandbox"))
@given(parts=st.lists(INLINE | st.just("<script>if (a<b) '&amp;'</script>"), max_size=6))
def test_simple_pages_read_as_the_standard_library_reads_them(parts: list[str]) -> None:
    page = "<html><head><title>t</title></head><body>" + "".join(parts) + "</body></html>"
    assert "".join(extract(page).text.split()) == "".join(read(page).split())
