"""A log as a stream of requests: broken lines are counted and named, small disorder is mended.

Memory is bounded, however long the log or a line of it is.
"""

from __future__ import annotations

import csv
import heapq
from collections.abc import Iterable, Iterator

import msgspec

from tidegate.errors import InvalidRequest
from tidegate.facades.replay.lines import FORMATS, LineFormat, format_of
from tidegate.facades.replay.request import Request, Unsaid

LINE_BYTES_MAX = 2**16
NAMED_MAX = 10
SORTED_LINES = 10_000
"""How many requests wait for one that should have come before them. Servers write a line when a
request ends, so two that run side by side change places, but not across thousands of others."""

_BOM = b"\xef\xbb\xbf"
_BROKEN = (InvalidRequest, ValueError, csv.Error, msgspec.MsgspecError, RecursionError)


class BrokenLine(msgspec.Struct, frozen=True):
    """A line that is no request: its number from 1, and why."""

    line: int
    why: str


class Recording:
    """The requests of a log, in its own order.

    Args:
        lines: Lines of bytes; one that is longer than `LINE_BYTES_MAX` may be cut after that. An
            InvalidRequest that they raise is the end of what can be read.
        unsaid: What holds where a line does not say.
        format_: One of `FORMATS`, or None to tell it from the first line that is not blank.
        strict: Let the first broken line end everything.
    """

    def __init__(
        self,
        lines: Iterable[bytes],
        unsaid: Unsaid,
        *,
        format_: str | None = None,
        strict: bool = False,
    ) -> None:
        self._lines, self._unsaid, self._strict = iter(lines), unsaid, strict
        self._format: LineFormat | None = FORMATS[format_](unsaid) if format_ else None
        self.read = 0
        self.broken = 0
        self.first_broken: list[BrokenLine] = []

    def __iter__(self) -> Iterator[Request]:
        """Yield each request.

        Raises:
            InvalidRequest: the log is in no format we know, or a line is broken and that is strict.
        """
        while True:
            try:
                line = next(self._lines)
            except StopIteration:
                return
            except InvalidRequest as error:
                self._note(error)
                return
            self.read += 1
            request = self._request(line.removeprefix(_BOM) if self.read == 1 else line)
            if request is not None:
                yield request

    @property
    def ignored(self) -> list[str]:
        """Names of fields that mean nothing here, the first that were seen."""
        return [] if self._format is None else sorted(self._format.ignored)

    def _request(self, line: bytes) -> Request | None:
        if not line.strip():
            return None
        if self._format is None:
            self._format = FORMATS[format_of(line)](self._unsaid)
        try:
            if len(line) > LINE_BYTES_MAX:
                raise ValueError(f"longer than {LINE_BYTES_MAX} bytes")
            return self._format.read(line)
        except _BROKEN as error:
            self._note(error)
            return None

    def _note(self, error: Exception) -> None:
        if self._strict:
            raise InvalidRequest(f"line {self.read}", "(broken)", str(error)) from None
        self.broken += 1
        if len(self.first_broken) < NAMED_MAX:
            self.first_broken.append(BrokenLine(self.read, str(error)))


class InOrder:
    """The same requests by their time, as far as a heap of `spare` of them can mend it.

    One that comes later than that is `late`: it is yielded where it stands.
    """

    def __init__(self, requests: Iterable[Request], *, spare: int = SORTED_LINES) -> None:
        self._requests, self._spare = requests, spare
        self.late = 0

    def __iter__(self) -> Iterator[Request]:
        heap: list[tuple[int, int, Request]] = []
        reached_us = 0
        for number, request in enumerate(self._requests):
            if request.at_us < reached_us:
                self.late += 1
                yield request
                continue
            heapq.heappush(heap, (request.at_us, number, request))
            if len(heap) > self._spare:
                reached_us, _, first = heapq.heappop(heap)
                yield first
        heap.sort()
        for _, _, request in heap:
            yield request
