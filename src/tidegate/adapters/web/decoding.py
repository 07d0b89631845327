"""Content decoding that cannot be made to produce more than was asked for.

zlib is driven with an output limit per step, so a bomb is noticed after at most one step more
than is allowed, and the event loop gets a turn between steps.

Source: RFC 9110, section 8.4.1; RFC 1950 to 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from tidegate.errors import UpstreamFailed, UpstreamRejected

STEP_BYTES = 256 * 1024
"""Most that one step produces: well below a millisecond of work."""

ENCODINGS_MAX = 2
"""Most encodings on top of each other; servers in good faith use one."""

MEMBERS_MAX = 100
"""Most gzip members in a row; each costs a fresh decompressor, however little it holds."""

_GZIP_START = b"\x1f\x8b"


class Inflater:
    """Undoes one gzip or deflate, piece by piece."""

    def __init__(self, *, size_max_bytes: int) -> None:
        self._left_bytes = size_max_bytes
        self._size_max_bytes = size_max_bytes
        self._start = b""
        self._inflate: zlib._Decompress | None = None
        self._members = 0
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` adds to the answer, in steps.

        Raises:
            UpstreamRejected: it grows beyond the limit.
            UpstreamFailed: it is not compressed data.
        """
        data, self._start = self._start + data, b""
        piece = b""
        # A full step may have left output inside zlib although all input is consumed.
        while not self._over and (data or len(piece) == STEP_BYTES):
            if self._inflate is None:
                if len(data) < 2:
                    self._start = data
                    return
                self._inflate = self._begin(data)
            if self._inflate is not None:
                piece = self._step(self._inflate, data)
                data = self._inflate.unconsumed_tail
                if piece:
                    yield piece
                if self._inflate.eof:
                    data, piece, self._inflate = self._inflate.unused_data, b"", None

    def finish(self) -> None:
        """Check that the answer was whole. Nothing at all is whole: some errors have no body.

        Raises:
            UpstreamFailed: it ended early.
        """
        if self._inflate is not None or (self._start and not self._members):
            raise UpstreamFailed("the compressed answer ends early")

    def _begin(self, start: bytes) -> zlib._Decompress | None:
        """Return what undoes the format that two bytes tell, or None for padding at the end."""
        gzipped = start.startswith(_GZIP_START)
        if self._members and not gzipped:
            self._over = True
            return None
        if self._members == MEMBERS_MAX:
            raise UpstreamRejected(f"the answer has more than {MEMBERS_MAX} gzip members")
        self._members += 1
        if gzipped:
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        wrapped = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
        # Some servers send deflate without the zlib header that the standard asks for.
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)

    def _step(self, inflate: zlib._Decompress, data: bytes) -> bytes:
        try:
            piece = inflate.decompress(data, STEP_BYTES)
        except zlib.error as error:
            raise UpstreamFailed("the answer is not compressed the way it says") from error
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            raise UpstreamRejected(f"the answer unpacks to more than {self._size_max_bytes} bytes")
        return piece


class Decoder:
    """Undoes every encoding that a Content-Encoding header names."""

    def __init__(self, header: str, *, size_max_bytes: int) -> None:
        names = [name.strip().lower() for name in header.split(",")]
        encodings = [name for name in names if name not in {"", "identity"}]
        unknown = [name for name in encodings if name not in {"gzip", "x-gzip", "deflate"}]
        if unknown:
            raise UpstreamRejected(f"the answer is encoded as {unknown[0][:40]!r}, not as asked")
        if len(encodings) > ENCODINGS_MAX:
            raise UpstreamRejected(f"the answer is encoded {len(encodings)} times over")
        # Each step is bounded, or a bomb inside a bomb would go off in the middle.
        self._stages = [Inflater(size_max_bytes=size_max_bytes) for _ in encodings]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` adds to the decoded answer.

        Raises:
            UpstreamRejected: it grows beyond the limit.
            UpstreamFailed: it is not compressed data.
        """
        pieces: Iterable[bytes] = [data]
        for stage in self._stages:
            pieces = _through(stage, pieces)
        yield from pieces

    def finish(self) -> None:
        """Check that every stage came to its end.

        Raises:
            UpstreamFailed: the answer ended early.
        """
        for stage in self._stages:
            stage.finish()


def _through(stage: Inflater, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield from stage.feed(piece)
