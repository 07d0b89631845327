"""Which addresses are public, and what the operator's list opens."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tidegate.domain.egress import EgressPolicy, special_kind
from tidegate.errors import InvalidSetting

CLOSED = EgressPolicy()


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", None),
        ("2606:4700::1111", None),
        ("::ffff:8.8.8.8", None),
        ("64:ff9b::808:808", None),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "private (carrier NAT)"),
        ("100.100.100.200", "private (carrier NAT)"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("168.63.129.16", "metadata"),
        ("169.254.169.254", "link-local"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "reserved"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4 relay"),
        ("192.168.1.1", "private"),
        ("198.19.0.1", "benchmarking"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "reserved"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:0:127.0.0.1", "reserved"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b:1::a00:1", "reserved"),
        ("100::1", "reserved"),
        ("2001:0:7f00:1::", "reserved or Teredo"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("2002:808:808::", "6to4"),
        ("3fff::1", "documentation"),
        ("5f00::1", "reserved"),
        ("fd00:ec2::254", "private"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "reserved"),
        ("ff02::1", "multicast"),
    ],
)
def test_special_addresses(address: str, kind: str | None) -> None:
    assert special_kind(ip_address(address)) == kind
    refusal = CLOSED.refusal("host.example", 80, [address])
    assert (refusal is None) == (kind is None)
    assert CLOSED.refusal("host.example", 80, ["8.8.8.8", address]) == refusal
    assert CLOSED.refusal("host.example", 80, [address, "8.8.8.8"]) == refusal


def test_a_reason_tells_the_kind_and_not_the_address() -> None:
    assert CLOSED.refusal("a", 80, ["10.1.2.3"]) == "it leads to a private address"
    assert CLOSED.refusal("a", 80, ["0.0.0.0"]) == "it leads to an unspecified address"
    assert CLOSED.refusal("a", 80, []) == "it has no address"


@pytest.mark.parametrize(
    ("allow", "host", "port", "address", "opened"),
    [
        ("127.0.0.1:8090", "127.0.0.1", 8090, "127.0.0.1", True),
        ("127.0.0.1:8090", "127.0.0.1", 8091, "127.0.0.1", False),
        ("127.0.0.1:8090", "127.0.0.2", 8090, "127.0.0.2", False),
        ("127.0.0.1:8090", "localhost", 8090, "127.0.0.1", True),
        ("127.0.0.1", "x", 1, "::ffff:127.0.0.1", True),
        ("10.0.0.0/8", "x", 1, "10.255.0.1", True),
        ("10.0.0.0/8", "x", 1, "11.0.0.1", True),
        ("10.0.0.0/8", "x", 1, "192.168.0.1", False),
        (" 10.0.0.0/8:443 , ,", "x", 443, "10.0.0.1", True),
        ("10.0.0.0/8:443", "x", 80, "10.0.0.1", False),
        ("10.0.0.0/8, 127.0.0.1", "x", 80, "127.0.0.1", True),
        ("0.0.0.0/0", "x", 80, "::1", False),
        ("::1", "::1", 80, "::1", True),
        ("[::1]:80", "::1", 80, "::1", True),
        ("[::1]:80", "::1", 81, "::1", False),
        ("[::1]", "::1", 81, "::1", True),
        ("fd00::/8", "x", 80, "fd12::1", True),
        ("[fd00::/8]:80", "x", 81, "fd12::1", False),
        ("[fd00::/8]:80", "x", 80, "fd12::1", True),
        ("64:ff9b::/96", "x", 80, "64:ff9b::a00:1", True),
        ("Intranet.Example.:8443", "intranet.example", 8443, "10.0.0.1", True),
        ("intranet.example:8443", "intranet.example", 443, "10.0.0.1", False),
        ("intranet.example", "x.intranet.example", 443, "10.0.0.1", False),
        ("intranet.example", "intranet.example.evil.example", 443, "10.0.0.1", False),
        ("bücher.example", "xn--bcher-kva.example", 443, "10.0.0.1", True),
        ("2130706433", "127.0.0.1", 443, "127.0.0.1", True),
    ],
)
def test_the_list_opens_what_it_says(
    allow: str, host: str, port: int, address: str, opened: bool
) -> None:
    assert (EgressPolicy.parse(allow).refusal(host, port, [address]) is None) == opened


def test_an_empty_list_opens_nothing() -> None:
    assert EgressPolicy.parse(" , ") == CLOSED


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/8:0",
        "10.0.0.0/8:65536",
        "10.0.0.0/8:x",
        "127.0.0.1:",
        "127.0.0.1:123456",
        "::1:x",
        "[::1",
        "[::1]x",
        "[]:80",
        "::ffff:10.0.0.0/104",
        "http://intranet.example",
        "intranet.example/path",
        "*.example",
        "user@intranet.example",
        "a b",
        "host:1:2",
        "256.1.1.1",
    ],
)
def test_a_bad_entry_stops_the_start(entry: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        EgressPolicy.parse(f"10.0.0.0/8,{entry}")
    assert caught.value.field == "TIDEGATE_EGRESS_ALLOW"
    assert caught.value.value == entry
