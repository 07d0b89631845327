"""Lines of logs: JSON, CSV with a header, and what web servers write.

Each format is a class with one method, `read`, that makes a `Request` of one line or raises. A
line stands for itself: no quoted field goes on in the next one, so that a stray quote costs one
line and not the rest of the file.

Source: Apache HTTP Server, mod_log_config, "Common Log Format" and "Combined Log Format"; RFC 4180.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from tidegate.domain.claim import Claim
from tidegate.errors import InvalidRequest
from tidegate.facades.replay.request import (
    FIELDS,
    NOBODY,
    TEXT_MAX,
    Entry,
    Request,
    Unsaid,
    instant_us,
)

IGNORED_MAX = 20
ACCESS_FIELDS = ("ip", "user", "route", "method", "status", "referer", "agent")

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_ACCESS = re.compile(
    rf"(\S+) \S+ (\S+) \[([^\]]+)\] {_QUOTED} (\d{{3}}) (?:\d+|-)(?: {_QUOTED} {_QUOTED})?"
)
_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class LineFormat(Protocol):
    """How one line is read. `ignored` are the names of fields that mean nothing here."""

    ignored: set[str]

    def read(self, line: bytes) -> Request | None:
        """Return the line's request; None for a line that holds none, such as a header.

        Raises:
            InvalidRequest, ValueError: what is wrong with the line.
        """
        ...


class JsonLines:
    """One object on each line, with the fields of `Entry`."""

    def __init__(self, unsaid: Unsaid) -> None:
        self.ignored: set[str] = set()
        self._unsaid = unsaid
        self._decoder = msgspec.json.Decoder(Entry)

    def read(self, line: bytes) -> Request:
        """See `LineFormat.read`."""
        if self._unsaid.tenant_from is None and not self.ignored:
            try:
                return self._unsaid.request(self._decoder.decode(line))
            except msgspec.ValidationError as error:
                if "unknown field" not in str(error):
                    raise
        tree = msgspec.json.decode(line, type=dict[str, Any])
        return self._unsaid.request(_entry(tree, self._unsaid.tenant_from, self.ignored))


class CsvLines:
    """Columns named as in `Entry`, with dots: `take.requests`, `hold.browsers`, `attributes.x`."""

    def __init__(self, unsaid: Unsaid) -> None:
        self.ignored: set[str] = set()
        self._unsaid = unsaid
        self._columns: list[str] = []

    def read(self, line: bytes) -> Request | None:
        """See `LineFormat.read`."""
        cells = cells_of(line)
        if not self._columns:
            if "at" not in cells:
                raise InvalidRequest("header", ",".join(cells)[:100], "columns, one of them `at`")
            self._columns = cells
            return None
        if len(cells) != len(self._columns):
            raise InvalidRequest("columns", len(cells), f"{len(self._columns)}, as in the header")
        tree: dict[str, Any] = {}
        for name, cell in zip(self._columns, cells, strict=True):
            group, _, key = name.partition(".")
            if cell and key:
                tree.setdefault(group, {})[key] = cell
            elif cell:
                tree[name] = cell
        entry = _entry(tree, self._unsaid.tenant_from, self.ignored, strict=False)
        return self._unsaid.request(entry)


class AccessLines:
    """What web servers write of each request; each takes what `Unsaid` says, 1 of `requests`."""

    def __init__(self, unsaid: Unsaid) -> None:
        self.ignored: set[str] = set()
        self._unsaid = unsaid
        self._tenant_from = unsaid.tenant_from or "ip"
        if self._tenant_from not in ACCESS_FIELDS:
            raise InvalidRequest("tenant-from", self._tenant_from, " | ".join(ACCESS_FIELDS))
        self._last = ("", 0)

    def read(self, line: bytes) -> Request:
        """See `LineFormat.read`."""
        found = _ACCESS.match(line.decode("utf-8", "backslashreplace"))
        if found is None:
            raise ValueError("not a line of the common or combined log format")
        ip, user, time, request, status, referer, agent = found.groups()
        method, _, rest = request.partition(" ")
        route = rest.partition(" ")[0].partition("?")[0][:TEXT_MAX]
        known = (ip, user, route, method, status, referer, agent)
        tenant = known[ACCESS_FIELDS.index(self._tenant_from)] or NOBODY
        claim = Claim(
            tenant=tenant[:TEXT_MAX],
            take=self._unsaid.take,
            hold=self._unsaid.hold,
            user=None if user == NOBODY else user,
            route=route or None,
            attributes={"ip": ip, "method": method or NOBODY, "status": status},
        )
        return Request(at_us=self._at_us(time), claim=claim, held_us=self._unsaid.held_us or 0)

    def _at_us(self, text: str) -> int:
        # Many lines share their second.
        if self._last[0] != text:
            found = _TIME.fullmatch(text)
            if found is None or found[2] not in _MONTHS:
                raise InvalidRequest("time", text[:100], "such as 10/Oct/2026:13:55:36 -0700")
            month = _MONTHS.index(found[2]) + 1
            at = f"{found[3]}-{month:02}-{found[1]}T{found[4]}{found[5]}:{found[6]}"
            self._last = (text, instant_us(at))
        return self._last[1]


FORMATS: dict[str, Callable[[Unsaid], LineFormat]] = {
    "json": JsonLines,
    "csv": CsvLines,
    "access": AccessLines,
}


def format_of(line: bytes) -> str:
    """Tell the format of a log from its first line.

    Raises:
        InvalidRequest: it is none of them.
    """
    if line.lstrip().startswith(b"{"):
        return "json"
    if _ACCESS.match(line.decode("utf-8", "backslashreplace")):
        return "access"
    try:
        if "at" in cells_of(line):
            return "csv"
    except (ValueError, csv.Error):
        pass
    allowed = "JSON lines, CSV with a column `at`, or the common or combined log format"
    raise InvalidRequest("log", line[:80].decode("utf-8", "backslashreplace"), allowed)


def cells_of(line: bytes) -> list[str]:
    """Return the cells of one line of CSV, without blanks around them."""
    rows = list(csv.reader([line.decode("utf-8").rstrip("\r\n")], strict=True))
    return [cell.strip() for cell in rows[0]] if rows else []


def _entry(
    tree: dict[str, Any], tenant_from: str | None, ignored: set[str], *, strict: bool = True
) -> Entry:
    if tenant_from is not None:
        attributes = tree.get("attributes")
        inner = attributes.get(tenant_from) if isinstance(attributes, dict) else None
        tenant = tree.get(tenant_from, inner)
        tree["tenant"] = NOBODY if tenant in (None, "") else str(tenant)
    known = {name: value for name, value in tree.items() if name in FIELDS}
    for name in tree.keys() - FIELDS - {tenant_from}:
        if len(ignored) < IGNORED_MAX:
            ignored.add(name[:100])
    return msgspec.convert(known, Entry, strict=strict)
