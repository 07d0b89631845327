"""What a URL points at: scheme, host, port and path, each in one canonical spelling.

Rate limits, the egress guard, the fetcher and the browser must agree on what the host is, so
every URL from outside is read here once and handed on as `Target.url`. Stricter than browsers:
what two parsers might read differently is refused, not repaired.

Source: RFC 3986; WHATWG URL (the IPv4 number parser); RFC 3490, 5891 (names).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from encodings import idna, punycode
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

from tidegate.errors import InvalidUrl

URL_LENGTH_MAX = 8192
"""Longest URL a caller may name, in characters; what common servers take in a request line."""

PORTS = {"http": 80, "https": 443}

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]+)(?P<rest>[^#]*)(?:#.*)?", re.IGNORECASE
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]+\]|[^\[\]:@]+)(?::(?P<port>[0-9]{0,5}))?")
_PATH_CHARS = "%/?:@!$&'()*+,;=[]|"
_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
# IDNA 2003 maps these two away, browsers and registries keep them: another owner's host.
_KEPT = re.compile("([\u00df\u03c2])")
_JOINERS = re.compile("[\u200c\u200d]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where one request goes. Make it with `parse_url`, which makes equal what is equal.

    `host` is a lower-case ASCII name without final dot, or an address without brackets. `path`
    begins with `/`, carries the query and is ASCII, with everything else percent-encoded.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """`host[:port]` as in a Host header: IPv6 in brackets, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL, without a fragment."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(url: str, *, length_max: int = URL_LENGTH_MAX) -> Target:
    """Read an absolute http or https URL.

    Args:
        url: As it came from outside.
        length_max: Most characters.

    Raises:
        InvalidUrl: relative, another scheme, credentials, control characters or spaces, too
            long, or a host or port that cannot be.
    """
    if len(url) > length_max:
        raise InvalidUrl("url", url[:64] + "...", f"at most {length_max} characters")
    if any(_blank(char) for char in url):
        raise InvalidUrl("url", url, "a URL without spaces or control characters")
    found = _URL.fullmatch(url)
    if not found:
        raise InvalidUrl("url", url, "an absolute http:// or https:// URL with a host")
    authority = _AUTHORITY.fullmatch(found["authority"])
    if not authority:
        # The value may hold a password, so it is not repeated.
        raise InvalidUrl("url", "...", "a host and an optional port, without credentials")
    scheme = found["scheme"].lower()
    port = int(authority["port"] or PORTS[scheme])
    if not 1 <= port <= 65535:
        raise InvalidUrl("url", url, "a port in 1..65535")
    rest = found["rest"]
    path = quote(rest if rest.startswith("/") else "/" + rest, safe=_PATH_CHARS)
    return Target(scheme=scheme, host=normalize_host(authority["host"]), port=port, path=path)


def normalize_host(host: str) -> str:
    """Return the canonical spelling of a host name or address, IPv6 with or without brackets.

    Numbers that the system's resolver takes for IPv4 (`127.1`, `0x7f.1`, `2130706433`) become
    dotted quads; IPv6 that carries an IPv4 address becomes that address.

    Raises:
        InvalidUrl: no host can be called that.
    """
    if ":" in host:
        return _ipv6(host)
    name = ".".join(_label(label) for label in _DOTS.split(host))
    name = name.removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise InvalidUrl("url", host[:300], "a host name or an IP address")
    labels = name.split(".")
    return _ipv4(labels) if _NUMERIC.fullmatch(labels[-1]) else name


def _blank(char: str) -> bool:
    return char <= " " or "\x7f" <= char <= "\xa0" or "\ud800" <= char <= "\udfff" or char.isspace()


def _label(label: str) -> str:
    """Return one label of a name in lower-case ASCII."""
    if label.isascii():
        return label.lower()
    if _JOINERS.search(label):
        raise InvalidUrl("url", label[:64], "a host with joiners in its xn-- form")
    try:
        parts = [
            part if _KEPT.fullmatch(part) else idna.nameprep(part) for part in _KEPT.split(label)
        ]
        name = "".join(parts)
        if "." in name:
            raise InvalidUrl("url", label[:64], "a host name without characters that hold a dot")
        return name if name.isascii() else "xn--" + punycode.punycode_encode(name).decode()
    except UnicodeError as error:
        raise InvalidUrl("url", label[:64], "a host name that can be registered") from error


def _ipv6(host: str) -> str:
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise InvalidUrl("url", host[:64], "an IPv6 address in brackets") from error
    if address.scope_id is not None:
        raise InvalidUrl("url", host[:64], "an IPv6 address without a zone")
    return str(address.ipv4_mapped or address)


def _ipv4(labels: list[str]) -> str:
    """Read one to four numbers as C's `inet_aton` does; the last fills the bytes that are left."""
    try:
        numbers = [_number(label) for label in labels]
    except ValueError:
        numbers = []
    *head, last = numbers or [-1]
    if not 1 <= len(numbers) <= 4 or any(number > 255 for number in head):
        last = -1
    if not 0 <= last < 256 ** (4 - len(head)):
        raise InvalidUrl("url", ".".join(labels), "an IPv4 address of four bytes")
    value = last + sum(number << (24 - 8 * place) for place, number in enumerate(head))
    return str(IPv4Address(value))


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") and text != "0" else 10)
