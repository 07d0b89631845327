"""A check: a gateway asks whether a request it has received may go on.

The operator's rules say what a request costs. Paths are compared as servers read them, decoded and
with dot segments resolved, so that nobody gets a cheaper rule by spelling a path differently.

Source: RFC 3986, sections 5.2.4 and 6.2.2, for the paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from tidegate.domain.claim import Claim
from tidegate.domain.lease import Outcome

UNKNOWN = "-"
"""What a claim says of the host, user, route or attribute that nobody named: all share it."""

VALUE_LENGTH_MAX = 200
"""Longest value that counts; each new one is a cell of its own in the limits divided by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it arrived at the gateway. `uri` may have a query; `id` is the gateway's own."""

    tenant: str
    method: str = "GET"
    host: str = ""
    uri: str = "/"
    user: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRule:
    """What the requests cost that it matches. Empty `methods` and `host` match any.

    `path` matches itself and what lies below it; a `host` of `*.example.com` any name below that.
    """

    methods: frozenset[str] = frozenset()
    host: str = ""
    path: str = "/"
    route: str = ""
    take: Mapping[str, int] = field(default_factory=dict)
    hold: Mapping[str, int] = field(default_factory=dict)
    lease_s: float = 30.0

    def matches(self, method: str, host: str, path: str) -> bool:
        """Say whether it applies to a request."""
        if self.methods and method not in self.methods:
            return False
        if self.host and not _is_host(self.host, host):
            return False
        own = self.path
        return path.startswith(own) and (own[-1] == "/" or path[len(own) :][:1] in ("", "/"))


class CheckRules:
    """The rules in order; the first that matches counts, the last one matches everything."""

    def __init__(self, rules: Sequence[CheckRule], *, take: Mapping[str, int]) -> None:
        self._rules = (*rules, CheckRule(take=take))

    def claim(self, asked: Asked) -> tuple[Claim, float]:
        """Return what the request claims, and the seconds for which it may hold it."""
        host = host_of(asked.host)
        rule = self._rule(asked, host)
        claim = Claim(
            tenant=asked.tenant,
            take=dict(rule.take),
            hold=dict(rule.hold),
            host=host[:VALUE_LENGTH_MAX] or UNKNOWN,
            user=asked.user[:VALUE_LENGTH_MAX] or UNKNOWN,
            route=rule.route or UNKNOWN,
            attributes={
                name: value[:VALUE_LENGTH_MAX] or UNKNOWN
                for name, value in asked.attributes.items()
            },
            id=asked.id,
        )
        return claim, rule.lease_s

    def _rule(self, asked: Asked, host: str) -> CheckRule:
        if len(self._rules) == 1:
            return self._rules[0]
        # Whatever may be got may be asked after, at the same price.
        method = "GET" if asked.method == "HEAD" else asked.method
        path = path_of(asked.uri)
        return next(rule for rule in self._rules if rule.matches(method, host, path))


def host_of(authority: str) -> str:
    """Return the host of `host:port` in small letters."""
    host, colon, port = authority.rpartition(":")
    if not colon or not (port.isdigit() or not port):
        host = authority
    return host.lower().rstrip(".")


def path_of(uri: str) -> str:
    """Return the path of a request target as servers read it: decoded, without `.`, `..`, `//`."""
    if not uri.startswith("/"):
        # The absolute form, `http://host/path`, as proxies are asked.
        _, _, rest = uri.partition("://")
        uri = rest[rest.find("/") :] if "/" in rest else "/"
    path = uri.partition("?")[0].partition("#")[0]
    if "%" in path:
        path = unquote(path, errors="replace")
    if "//" not in path and "/." not in path:
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    below = "/" if parts and path.endswith(("/", "/.", "/..")) else ""
    return f"/{'/'.join(parts)}{below}"


def outcome_of(status: int) -> Outcome:
    """Return how a request ended that was answered with this status; below 100: not at all."""
    if status < 100 or status == 499:
        return "cancelled"
    if status in (408, 504):
        return "timeout"
    return "failed" if status >= 500 else "success"


def _is_host(wanted: str, host: str) -> bool:
    return host.endswith(wanted[1:]) if wanted.startswith("*.") else host == wanted
