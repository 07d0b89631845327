"""No address outside the public internet gets through unless an entry covers it."""

from __future__ import annotations

import socket
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.domain.egress import EgressPolicy
from tidegate.domain.target import normalize_host, parse_url
from tidegate.errors import InvalidUrl

Network = IPv4Network | IPv6Network

BLOCKS = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8"),
    *("2001::/32", "2001:db8::/32", "2002::/16", "2000::/3", "0.0.0.0/0", "::/0"),
]
addresses = st.sampled_from(BLOCKS).flatmap(
    lambda block: st.ip_addresses(network=ip_network(block))
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    address = draw(addresses)
    prefix = draw(st.integers(0, address.max_prefixlen))
    return ip_network(f"{address}/{prefix}", strict=False)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Judge with the standard library, and look into addresses that carry another."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address in IPv6Network("64:ff9b::/96"):
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        inner = address.sixtofour or (address.teredo and address.teredo[1])
        if inner and not is_public(inner):
            return False
    return address.is_global and not address.is_multicast


def covered(address: IPv4Address | IPv6Address, network: Network) -> bool:
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped
    return (mapped or address) in network


def entry(network: Network, port: int | None) -> str:
    text = f"[{network}]" if network.version == 6 and port else str(network)
    return f"{text}:{port}" if port else text


@given(
    found=st.lists(addresses, min_size=1, max_size=3),
    entries=st.lists(st.tuples(networks(), st.sampled_from([None, 80, 443])), max_size=3),
    port=st.sampled_from([80, 443]),
)
@example(found=[ip_address("127.0.0.1")], entries=[(ip_network("127.0.0.1/32"), 443)], port=80)
@example(found=[ip_address("8.8.8.8"), ip_address("::1")], entries=[], port=80)
def test_nothing_private_without_an_entry(
    found: list[IPv4Address | IPv6Address],
    entries: list[tuple[Network, int | None]],
    port: int,
) -> None:
    usable = [
        (network, at)
        for network, at in entries
        if not (network.version == 6 and network.subnet_of(IPv6Network("::ffff:0:0/96")))
    ]
    policy = EgressPolicy.parse(",".join(entry(network, at) for network, at in usable))
    refusal = policy.refusal("host.example", port, [str(address) for address in found])
    allowed = [
        is_public(address)
        or any(covered(address, network) for network, at in usable if at in {None, port})
        for address in found
    ]
    if refusal is None:
        assert all(allowed)


@given(network=networks(), port=st.none() | st.integers(1, 65535), data=st.data())
def test_an_entry_opens_all_it_covers(
    network: Network, port: int | None, data: st.DataObject
) -> None:
    if network.version == 6 and network.subnet_of(IPv6Network("::ffff:0:0/96")):
        return
    address = data.draw(st.ip_addresses(network=network))
    policy = EgressPolicy.parse(entry(network, port))
    # A network as wide as ::/0 holds mapped addresses, which count as IPv4.
    if covered(address, network):
        assert policy.refusal("host.example", port or 80, [str(address)]) is None


numbers = st.integers(0, 2**33).flatmap(lambda n: st.sampled_from([f"{n}", f"0x{n:x}", f"0{n:o}"]))


@given(host=st.lists(numbers, min_size=1, max_size=5).map(".".join))
def test_numbers_are_read_as_the_resolver_reads_them(host: str) -> None:
    try:
        expected = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        expected = ""
    try:
        found = normalize_host(host)
    except InvalidUrl:
        found = ""
    assert found == expected


url_text = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs", "Cc"]) | st.sampled_from("@:/?#[]%.\\"),
    max_size=40,
)


@given(rest=url_text)
def test_a_canonical_url_is_read_alike_by_another_parser(rest: str) -> None:
    try:
        target = parse_url(f"http://{rest}")
    except InvalidUrl:
        return
    assert parse_url(target.url) == target
    theirs = urlsplit(target.url)
    assert (theirs.hostname, theirs.port or 80) == (target.host, target.port)
    assert theirs.username is theirs.password is None
    assert h11.Request(method="GET", target=target.url, headers=[("Host", target.authority)])
