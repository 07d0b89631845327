"""Which addresses untrusted work may reach: the public internet, and what the operator listed.

An address counts as public only if it is known to be: IPv4 outside the special blocks, IPv6
inside the global unicast block and outside its special parts. The table is written out because
`ipaddress.is_global` changes its answers between patch releases of Python. Pure; the guard
resolves names and asks here with everything it found.

Source: IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6052 (64:ff9b::/96).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tidegate.domain.target import normalize_host
from tidegate.errors import InvalidSetting, InvalidUrl

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SETTING = "TIDEGATE_EGRESS_ALLOW"

_SPECIAL_V4 = {
    IPv4Network(block): kind
    for block, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "private (carrier NAT)"),
        ("127.0.0.0/8", "loopback"),
        # Not in the registry: the address at which one cloud serves credentials to its machines.
        ("168.63.129.16/32", "metadata"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
}
_SPECIAL_V6 = {
    IPv6Network(block): kind
    for block, kind in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved or Teredo"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
    )
}
_GLOBAL_V6 = IPv6Network("2000::/3")
_MAPPED_V6 = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")

_ENTRY = re.compile(r"(?P<bare>[^\[\]]+?)(?::(?P<port>[0-9]{1,5}))?")
_BRACKETED = re.compile(r"\[(?P<bare>[^\[\]]+)\](?::(?P<port>[0-9]{1,5}))?")


def special_kind(address: Address) -> str | None:
    """Name the special block that an address lies in, or return None for a public address."""
    plain = _unmapped(address)
    if isinstance(plain, IPv4Address):
        return next((kind for block, kind in _SPECIAL_V4.items() if plain in block), None)
    if plain in _NAT64:
        return special_kind(IPv4Address(int(plain) & 0xFFFFFFFF))
    kind = next((kind for block, kind in _SPECIAL_V6.items() if plain in block), None)
    return kind or (None if plain in _GLOBAL_V6 else "reserved")


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressEntry:
    """One opening in the wall: a network or a host name; at one port, or at all (None)."""

    network: Network | None = None
    host: str | None = None
    port: int | None = None

    def covers_port(self, port: int) -> bool:
        """Tell whether the entry speaks about this port."""
        return self.port is None or self.port == port


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """The public internet plus `entries`."""

    entries: tuple[EgressEntry, ...] = ()

    @classmethod
    def parse(cls, text: str) -> EgressPolicy:
        """Read a comma-separated list such as `10.0.0.0/8, [::1]:8080, intranet.example:8443`.

        Raises:
            InvalidSetting: an entry is no network, address or host name, or its port cannot be.
        """
        return cls(entries=tuple(_entry(part.strip()) for part in text.split(",") if part.strip()))

    def refusal(self, host: str, port: int, addresses: Iterable[str]) -> str | None:
        """Say why this host may not be reached, or return None if it may.

        The reason names the kind of address and never the address: what a private name resolves
        to is no business of a tenant.

        Args:
            host: Canonical, as in `Target.host`.
            port: The port to dial.
            addresses: All that the host resolved to; one bad one refuses the host.
        """
        open_here = [entry for entry in self.entries if entry.covers_port(port)]
        if any(entry.host == host for entry in open_here):
            return None
        networks = [entry.network for entry in open_here if entry.network is not None]
        found = [ip_address(text) for text in addresses]
        for address in found:
            kind = special_kind(address)
            if kind and not any(_unmapped(address) in network for network in networks):
                article = "an" if kind[0] in "aeiou" else "a"
                return f"it leads to {article} {kind} address"
        return None if found else "it has no address"


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address inside a mapped IPv6 one: dialling either reaches the same host."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _entry(text: str) -> EgressEntry:
    # A bare IPv6 address or network has colons of its own, so a port needs brackets there.
    bare_v6 = text.count(":") > 1 and "[" not in text
    found = None if bare_v6 else (_BRACKETED.fullmatch(text) or _ENTRY.fullmatch(text))
    if not found and not bare_v6:
        raise InvalidSetting(SETTING, text, "networks, addresses and host names, each with a port")
    bare = found["bare"] if found else text
    port = int(found["port"]) if found and found["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise InvalidSetting(SETTING, text, "a port in 1..65535")
    if "/" in bare:
        return EgressEntry(network=_network(bare, text), port=port)
    try:
        host = normalize_host(bare)
    except InvalidUrl as error:
        raise InvalidSetting(SETTING, text, f"{error.allowed}, or a network") from error
    try:
        return EgressEntry(network=ip_network(host), port=port)
    except ValueError:
        return EgressEntry(host=host, port=port)


def _network(bare: str, text: str) -> Network:
    try:
        network = ip_network(bare)
    except ValueError as error:
        raise InvalidSetting(SETTING, text, f"a network ({error})") from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED_V6):
        raise InvalidSetting(SETTING, text, "the IPv4 network itself")
    return network
