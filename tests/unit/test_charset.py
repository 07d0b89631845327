"""Charset detection, on real bytes of many encodings."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.charset import codec_of, decode_html, sniff
from tidegate.domain.charset_labels import CODECS

RUSSIAN = "Съешь ещё этих мягких французских булок"
JAPANESE = "色は匂へど散りぬるを①"
CHINESE = "天地玄黄宇宙洪荒"
KOREAN = "키스의 고유조건은 입술끼리 만나야 하고 똠"


@pytest.mark.parametrize(
    ("body", "declared", "text"),
    [
        pytest.param(RUSSIAN.encode("cp1251"), "windows-1251", RUSSIAN, id="declared"),
        pytest.param(RUSSIAN.encode("cp1251"), ' "Windows-1251" ', RUSSIAN, id="quoted"),
        pytest.param(JAPANESE.encode("cp932"), "shift_jis", JAPANESE, id="shift_jis is cp932"),
        pytest.param(CHINESE.encode("gbk"), "gb2312", CHINESE, id="gb2312 is gbk"),
        pytest.param("€😀".encode("gb18030"), "gbk", "€😀", id="gbk is gb18030"),
        pytest.param(KOREAN.encode("cp949"), "euc-kr", KOREAN, id="euc-kr is cp949"),
        pytest.param("“a”€".encode("cp1252"), "iso-8859-1", "“a”€", id="latin1 is windows-1252"),
        pytest.param(b"\x81\x8d", "us-ascii", "\x81\x8d", id="no byte of windows-1252 is lost"),
        pytest.param("ä".encode("utf-16"), None, "ä", id="utf-16 by its mark"),
        pytest.param(
            codecs.BOM_UTF16_BE + "ä".encode("utf-16-be"), "latin1", "ä", id="a mark wins"
        ),
        pytest.param("\ufeffä".encode(), "windows-1251", "ä", id="a mark wins and vanishes"),
        pytest.param("ä".encode("utf-16-le"), "utf-16", "ä", id="utf-16 is little endian"),
        pytest.param("ä".encode(), None, "ä", id="valid utf-8 is utf-8"),
        pytest.param("äö".encode()[:3], None, "ä\ufffd", id="utf-8 that was cut off"),
        pytest.param("ä§".encode("cp1252"), None, "ä§", id="else windows-1252"),
        pytest.param(b"a\xffb", "utf-8", "a\ufffdb", id="an invalid sequence is replaced"),
        pytest.param(b"\xed\xa0\x80", "utf-8", "\ufffd" * 3, id="no surrogate from utf-8"),
        pytest.param(b"\x00\xd8", "utf-16le", "\ufffd", id="no surrogate from utf-16"),
        pytest.param(b"", None, "", id="nothing"),
    ],
)
def test_decode(body: bytes, declared: str | None, text: str) -> None:
    assert decode_html(body, declared) == text


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        pytest.param(b"<meta charset=koi8-r>", "koi8-r", id="bare"),
        pytest.param(b'<!doctype html><META Charset = "KOI8-R">', "koi8-r", id="quoted"),
        pytest.param(b"<meta/charset='big5'/>", "big5hkscs", id="slashes"),
        pytest.param(
            b'<meta http-equiv="Content-Type" content="text/html; charset=euc-jp">',
            "euc-jp",
            id="http-equiv",
        ),
        pytest.param(
            b"<meta content='text/html;charset=\"sjis\"' http-equiv=content-type>",
            "cp932",
            id="http-equiv, other order",
        ),
        pytest.param(b'<meta name=x content="charset=koi8-r">', None, id="content of another meta"),
        pytest.param(b"<meta charset=utf-16>", "utf-8", id="utf-16 in ascii cannot be"),
        pytest.param(b"<!-- <meta charset=koi8-r> -->", None, id="inside a comment"),
        pytest.param(b"<!--><meta charset=koi8-r>", "koi8-r", id="behind an empty comment"),
        pytest.param(b"<a title='<meta charset=koi8-r>'>", None, id="inside an attribute"),
        pytest.param(b"</p><?x <meta charset=koi8-r>", None, id="inside an instruction"),
        pytest.param(b"< <meta charset=x><meta charset=latin2>", "iso8859-2", id="first known"),
        pytest.param(b"<meta charset=koi8-r charset=big5>", "koi8-r", id="first attribute"),
        pytest.param(b'<?xml version="1.0" encoding="koi8-u"?>', "koi8-u", id="xml"),
        pytest.param(b" " * 1024 + b"<meta charset=koi8-r>", None, id="too far down"),
        pytest.param(b"<meta charset", None, id="cut off"),
        pytest.param(b"<!-- ", None, id="cut off comment"),
    ],
)
def test_sniff(head: bytes, codec: str | None) -> None:
    assert sniff(head) == codec


def test_what_a_page_says_is_used() -> None:
    page = f"<meta charset=windows-1251><p>{RUSSIAN}"
    assert decode_html(page.encode("cp1251"), "no-such-encoding") == page


@pytest.mark.parametrize(
    "label",
    [
        "rot13",
        "zlib",
        "hex",
        "idna",
        "punycode",
        "unicode_escape",
        "raw_unicode_escape",
        "utf-7",
        "hz",
    ],
)
def test_no_other_codec_is_ever_used(label: str) -> None:
    assert codec_of(label) is None
    page = b"<meta charset='%s'>+ADw-" % label.encode()
    assert decode_html(page, label) == page.decode()


def test_every_codec_is_a_text_encoding() -> None:
    for codec in set(CODECS.values()) - {"windows-1252"}:
        assert codecs.lookup(codec)._is_text_encoding


@given(body=st.binary(max_size=2000), declared=st.none() | st.sampled_from([*CODECS]) | st.text())
def test_any_bytes_give_valid_text(body: bytes, declared: str | None) -> None:
    decode_html(body, declared).encode()


@pytest.mark.parametrize("codec", sorted(set(CODECS.values()) - {"windows-1252"}))
def test_no_two_bytes_give_a_surrogate(codec: str) -> None:
    label = next(label for label, name in CODECS.items() if name == codec)
    for first in range(256):
        pairs = b"\n\n".join(bytes([first, second]) for second in range(256))
        decode_html(pairs, label).encode()
