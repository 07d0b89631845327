"""What is made of the sandbox's records, and that records which cannot be are refused."""

from __future__ import annotations

import re
import struct
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.adapters.wasmtime.layout import (
    RECORD,
    RECORDS_MAX,
    Kind,
    RawPage,
    Record,
    read_records,
)
from tidegate.adapters.wasmtime.page import Base, assemble, encode
from tidegate.errors import WorkerCrashed, WorkTimeout

BASE = "https://example.com/a/b?c"


def go_on() -> None:
    """Let the work go on."""


@pytest.mark.parametrize(
    ("href", "base", "expected"),
    [
        ("x", BASE, "https://example.com/a/x"),
        ("/x", BASE, "https://example.com/x"),
        ("../../../x", BASE, "https://example.com/x"),
        ("?q=1", BASE, "https://example.com/a/b?q=1"),
        ("#top", BASE, "https://example.com/a/b?c#top"),
        ("", BASE, BASE),
        ("//other.org/x", BASE, "https://other.org/x"),
        ("http://other.org/a/../b", BASE, "http://other.org/a/../b"),
        ("mailto:a@example.com", BASE, "mailto:a@example.com"),
        (" /x#\ny ", BASE, "https://example.com/x#y"),
        ("/./x", BASE, "https://example.com/x"),
        ("/x", "ftp://example.com/y", "ftp://example.com/x"),
        ("x", "", "x"),
        ("JavaScript:alert(1)", BASE, None),
        ("data:text/html,x", BASE, None),
        ("vbscript:x", BASE, None),
        ("http://[::1", BASE, None),
        ("http://[v]/x", BASE, None),
        ("x", "http://[", None),
    ],
)
def test_absolute(href: str, base: str, expected: str | None) -> None:
    assert Base(base).absolute(href.encode()) == expected


def without_empty_ends(url: str) -> str:
    """Drop an empty query and an empty fragment, which `urljoin` may drop and we keep."""
    return re.sub(r"\?*(#|$)", r"\1", url).rstrip("#")


PIECES = [
    "..",
    ".",
    "",
    "x",
    "y.z",
    "a b",
    "é",
    ":",
    ";p",
    "?q",
    "#f",
    "//",
    "http:",
    "?",
    "[",
    "%2e",
]


@given(
    base=st.sampled_from(
        [BASE, "https://h", "http://h:8/a/b/c/d/", "ftp://h/a/b", "", "x/y", "//h", "http://h["]
    ),
    href=st.lists(st.sampled_from(PIECES), max_size=6).map("/".join)
    | st.lists(st.sampled_from([*PIECES, "/"]), max_size=8).map("".join),
)
def test_absolute_agrees_with_urljoin(base: str, href: str) -> None:
    found = Base(base).absolute(href.encode())
    try:
        joined = urljoin(base, href)
    except ValueError:
        assert found in {None, href}
        return
    assert found is not None
    assert without_empty_ends(found) == without_empty_ends(joined)


@pytest.mark.parametrize(
    ("html", "utf8"),
    [
        ("", b""),
        ("ä😀", "ä😀".encode()),
        ("a\ud800b", "a\ufffdb".encode()),
        ("\ud83d\ude00", "😀".encode()),
        ("x" * (2**20 + 1) + "ä", b"x" * (2**20 + 1) + "ä".encode()),
    ],
)
def test_encode(html: str, utf8: bytes) -> None:
    assert b"".join(encode(html)) == utf8


def record(kind: int, name: bytes, value: bytes, start: int = 0, stop: int = 0) -> bytes:
    return RECORD.pack(kind, len(name), len(value), start, stop) + name + value


def test_records_are_read_in_order() -> None:
    data = record(Kind.META, b"a", b"b") + record(Kind.HEADING, b"", b"", 1, 5)
    assert read_records(data, text_size=5) == [
        Record(Kind.META, b"a", b"b", 0, 0),
        Record(Kind.HEADING, b"", b"", 1, 5),
    ]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"x", id="shorter than a record"),
        pytest.param(record(Kind.META, b"a", b"b")[:-1], id="shorter than its sizes"),
        pytest.param(struct.pack("<5I", 3, 2**32 - 1, 2**32 - 1, 0, 0), id="huge sizes"),
        pytest.param(record(0, b"", b""), id="kind 0"),
        pytest.param(record(len(Kind) + 1, b"", b""), id="unknown kind"),
        pytest.param(record(Kind.LINK, b"", b"", 0, 6), id="range behind the text"),
        pytest.param(record(Kind.LINK, b"", b"", 2, 1), id="range backwards"),
        pytest.param(record(Kind.LINK, b"", b"") * (RECORDS_MAX + 1), id="too many"),
    ],
)
def test_records_that_cannot_be(data: bytes) -> None:
    with pytest.raises(WorkerCrashed):
        read_records(data, text_size=5)


def test_page_of_bytes_that_are_no_text() -> None:
    records = [
        Record(Kind.TITLE, b"", b"a\xff \n b", 0, 0),
        Record(Kind.LINK, b"", b"x\xff", 0, 3),
        Record(Kind.META, b"N\xff", b" v\xff ", 0, 0),
        Record(Kind.META, b" ", b"nameless", 0, 0),
    ]
    page = assemble(RawPage(text=b"\xff a", records=records), base_url=BASE, check=go_on)
    assert page.title == "a b"
    assert page.text == "\ufffd a"
    assert [(link.href, link.text) for link in page.links] == [("https://example.com/a/x", "a")]
    assert page.metadata == {"n": "v"}


def test_a_link_is_checked_before_it_is_made() -> None:
    def time_is_over() -> None:
        raise WorkTimeout("extract", 1)

    raw = RawPage(text=b"", records=[Record(Kind.LINK, b"", b"x", 0, 0)])
    with pytest.raises(WorkTimeout):
        assemble(raw, base_url=None, check=time_is_over)
