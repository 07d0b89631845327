"""A store URL, read once into frozen values.

    redis://[user:password@]host[:port][/db]
    unix://[user:password@]/path/of/socket
    redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]
    redis+cluster://[user:password@]host[:port],host[:port]

`rediss` instead of `redis` is the same over TLS. Options follow after `?`, named as redis-py names
them, so that a URL written for it works here; besides, `name` tells the keys of one set of limits
from those of another on the same server. A URL holds secrets, and a badly written one holds
them where something else belongs: so an error names the part and shows none of it.

Source: RFC 3986, section 3; redis-py, `connection.parse_url`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, NoReturn
from urllib.parse import parse_qsl, unquote

from tidegate.adapters.redis.endpoint import Endpoint, Node
from tidegate.adapters.redis.tls import Tls
from tidegate.errors import InvalidSetting

Mode = Literal["standalone", "sentinel", "cluster"]

PORT = 6379
SENTINEL_PORT = 26379
DB_MAX = 2**31 - 1
"""The server reads it into a C int."""
URL_LENGTH_MAX = 8192
SOCKET_PATH_BYTES_MAX = 107
"""Source: unix(7), sun_path without its final zero."""

_SCHEMES: dict[str, tuple[Mode, bool]] = {
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "valkey": ("standalone", False),
    "valkeys": ("standalone", True),
    "unix": ("standalone", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_TLS_OPTIONS = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Without braces: they would end the hash tag that a cluster finds the keys' slot by."""
_HOST = re.compile(r"\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where a store is. As text it is without credentials and options.

    Attributes:
        nodes: The server; or the sentinels; or some nodes of the cluster. Never empty.
        service: What the sentinels call the group of servers; empty in the other modes.
        name: Of the set of limits; others on the same server keep to keys of their own.
        sentinel_user, sentinel_password: For the sentinels, which have credentials of their own.
    """

    mode: Mode
    nodes: tuple[Node, ...]
    user: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    service: str = ""
    name: str = "default"
    sentinel_user: str = ""
    sentinel_password: str = field(default="", repr=False)
    tls: Tls | None = None

    def __str__(self) -> str:
        nodes = ",".join(str(node) for node in self.nodes)
        return f"{nodes}/{self.service}" if self.service else nodes

    def endpoint(self, node: Node | None = None) -> Endpoint:
        """Return how to reach a data node: by default the first one that the URL names."""
        node = node or self.nodes[0]
        return Endpoint(node=node, user=self.user, password=self.password, db=self.db, tls=self.tls)

    def sentinels(self) -> tuple[Endpoint, ...]:
        """Return how to reach each sentinel; nothing in the other modes."""
        user, password = self.sentinel_user, self.sentinel_password
        nodes = self.nodes if self.mode == "sentinel" else ()
        return tuple(
            Endpoint(node=node, user=user, password=password, tls=self.tls) for node in nodes
        )


def parse_address(url: str, *, setting: str = "store_url") -> RedisAddress:
    """Read a store URL.

    Args:
        url: One of the forms above.
        setting: What errors call it.

    Raises:
        InvalidSetting: naming the part that is wrong, `store_url.port`, and never showing it.
    """
    return _Reading(url, setting).address()


class _Reading:
    """One URL in its parts."""

    def __init__(self, url: str, setting: str) -> None:
        self.setting = setting
        self.scheme, separator, rest = url.partition("://")
        if not separator or self.scheme not in _SCHEMES or len(url) > URL_LENGTH_MAX:
            self.refuse("", " | ".join(f"{scheme}://..." for scheme in _SCHEMES))
        self.mode, self.encrypted = _SCHEMES[self.scheme]
        rest, _, query = rest.partition("?")
        authority, _, self.path = rest.partition("/")
        self.userinfo, self.at, self.hosts = authority.rpartition("@")
        if "#" in url or "@" in query or ("@" in self.path and self.scheme != "unix"):
            self.refuse("", "in credentials and options %23 for #, %2F for /, %3F for ?, %40 for @")
        self.options = self.read_options(query)

    def refuse(self, part: str, allowed: str) -> NoReturn:
        raise InvalidSetting(f"{self.setting}.{part}".rstrip("."), "(hidden)", allowed)

    def address(self) -> RedisAddress:
        user, password = self.credentials()
        service, db = self.service_and_db()
        return RedisAddress(
            mode=self.mode,
            nodes=(self.socket(),) if self.scheme == "unix" else self.nodes(),
            user=user,
            password=password,
            db=db,
            service=service,
            name=self.name(),
            sentinel_user=self.options.get("sentinel_username", ""),
            sentinel_password=self.options.get("sentinel_password", ""),
            tls=self.tls() if self.encrypted else None,
        )

    def read_options(self, query: str) -> dict[str, str]:
        known = ["name", "db"] if self.mode != "cluster" else ["name"]
        known += _SENTINEL_OPTIONS if self.mode == "sentinel" else ()
        known += _TLS_OPTIONS if self.encrypted else ()
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError:
            pairs = [("", "")]
        options = dict(pairs)
        if len(options) < len(pairs) or not options.keys() <= set(known):
            self.refuse("options", f"each at most once: {', '.join(known)}")
        return options

    def credentials(self) -> tuple[str, str]:
        user, _, password = self.userinfo.partition(":")
        if self.at and not password:
            self.refuse("password", "[user]:password@, or no @ at all")
        return unquote(user), unquote(password)

    def name(self) -> str:
        name = self.options.get("name", "default")
        if not _NAME.fullmatch(name):
            self.refuse("name", "up to 64 letters, digits and . _ -")
        return name

    def nodes(self) -> tuple[Node, ...]:
        hosts = self.hosts.split(",")
        if self.mode == "standalone" and len(hosts) > 1:
            self.refuse("host", "one host, or redis+sentinel:// or redis+cluster:// with several")
        return tuple(self.node(host) for host in hosts)

    def node(self, text: str) -> Node:
        match = _HOST.match(text)
        if not match or not _can_be_looked_up(match[0]):
            self.refuse("host", "a host name, an IPv4 address, or an IPv6 address in brackets")
        rest = text[match.end() :]
        default = SENTINEL_PORT if self.mode == "sentinel" else PORT
        port = self.number("port", rest[1:], 65_535) if rest.startswith(":") else default
        if port == 0 or rest[:1] not in ("", ":"):
            self.refuse("port", "1..65535 after a colon")
        return Node(host=match["ipv6"] or match[0], port=port)

    def socket(self) -> Node:
        path = "/" + unquote(self.path)
        if self.hosts or path == "/" or not path.isprintable():
            self.refuse("path", "unix:///path/of/socket")
        if len(path.encode()) > SOCKET_PATH_BYTES_MAX:
            self.refuse("path", f"at most {SOCKET_PATH_BYTES_MAX} bytes")
        return Node(path=path)

    def service_and_db(self) -> tuple[str, int]:
        service, path = "", "" if self.scheme == "unix" else self.path
        if self.mode == "sentinel":
            service, _, path = path.partition("/")
            if not service:
                self.refuse("service", "redis+sentinel://hosts/service")
        if path and "db" in self.options:
            self.refuse("db", "once: in the path or as an option")
        text = path or self.options.get("db", "0")
        db = self.number("db", text, 0 if self.mode == "cluster" else DB_MAX)
        return unquote(service), db

    def number(self, part: str, text: str, most: int) -> int:
        # Not every digit of Unicode is one that int() should read here.
        if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > most:
            self.refuse(part, f"0..{most}")
        return int(text)

    def choice(self, option: str, choices: dict[str, bool]) -> bool:
        value = self.options.get(option, next(iter(choices))).lower()
        if value not in choices:
            self.refuse(option, " | ".join(choices))
        return choices[value]

    def tls(self) -> Tls:
        options = self.options
        if not options.get("ssl_certfile") and (
            options.get("ssl_keyfile") or options.get("ssl_password")
        ):
            self.refuse("ssl_certfile", "a certificate to the key")
        return Tls(
            ca_file=options.get("ssl_ca_certs", ""),
            cert_file=options.get("ssl_certfile", ""),
            key_file=options.get("ssl_keyfile", ""),
            key_password=options.get("ssl_password", ""),
            verify=self.choice("ssl_cert_reqs", {"required": True, "none": False}),
            check_hostname=self.choice("ssl_check_hostname", {"true": True, "false": False}),
        )


def _can_be_looked_up(host: str) -> bool:
    """Whether the parts of a name are neither empty nor too long; the resolver insists on it."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
