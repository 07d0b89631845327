"""One spelling for each host, and no URL that two parsers could read differently."""

from __future__ import annotations

import pytest

from tidegate.domain.target import URL_LENGTH_MAX, parse_url
from tidegate.errors import InvalidUrl


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTPS://EXAMPLE.Com.:443?x=1#y", "https://example.com/?x=1"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("http://example.com:/a//b?c?d", "http://example.com/a//b?c?d"),
        ("http://example.com/a\\b", "http://example.com/a%5Cb"),
        ("http://example.com/ü%20%?é=|[]", "http://example.com/%C3%BC%20%?%C3%A9=|[]"),
        ("http://example.com/@b:c", "http://example.com/@b:c"),
        ("http://a_b-c.example/", "http://a_b-c.example/"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://[2606:4700:0:0:0:0:0:1111]/", "http://[2606:4700::1111]/"),
        ("http://[::FFFF:127.0.0.1]/", "http://127.0.0.1/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://0X7F000001/", "http://127.0.0.1/"),
        ("http://0177.0.0.01/", "http://127.0.0.1/"),
        ("http://0/", "http://0.0.0.0/"),
        ("http://1.2.65535/", "http://1.2.255.255/"),
        ("http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "http://127.0.0.1/"),
        ("http://127\u30020\uff0e0\uff611/", "http://127.0.0.1/"),
        ("http://\uff25xample.com/", "http://example.com/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://BÜCHER.example/", "http://xn--bcher-kva.example/"),
        ("http://straße.example/", "http://xn--strae-oqa.example/"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
    ],
)
def test_one_spelling(url: str, canonical: str) -> None:
    target = parse_url(url)
    assert target.url == canonical
    assert parse_url(target.url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "/path",
        "http:example.com",
        "http:/example.com",
        "http://",
        "http:///example.com",
        "http://?x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "view-source:http://example.com/",
        "javascript:alert(1)",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://127.0.0.1\\.example.com/",
        "http://exa mple.com/",
        "http://example.com/a b",
        " http://example.com/",
        "http://example.com/\n",
        "http://exam\tple.com/",
        "http://example.com/\x00",
        "http://example.com/\x7f",
        "http://example.com/\x85",
        "http://example.com/\u00a0",
        "http://example.com/\u2028",
        "http://example.com/\ud800",
        "http://%31%32%37.0.0.1/",
        "http://.example.com/",
        "http://a..example/",
        "http://example.com../",
        "http://./",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 127 + "example/",
        "http://" + "ü" * 64 + ".example/",
        "http://exam\u200dple.com/",
        "http://a\u2488com/",
        "http://a\uff0fb/",
        "http://a\u2100b/",
        "http://exa*mple.com/",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://4294967296/",
        "http://1.2.3.256/",
        "http://08.1/",
        "http://a.0x1/",
        "http://a.1/",
        "http://[::1/",
        "http://::1/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[1.2.3.4]/",
        "http://[v1.x]/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:80:80/",
        "http://example.com:+80/",
        "http://example.com:٨٠/",
        "http://example.com/" + "a" * URL_LENGTH_MAX,
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        parse_url(url)
    assert caught.value.field == "url"
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_authority_of_a_host_header() -> None:
    assert parse_url("http://[::1]/").authority == "[::1]"
    assert parse_url("https://example.com:80/").authority == "example.com:80"
    assert parse_url("http://example.com:80/").authority == "example.com"
