"""Log files as lines: plain, packed, or the standard input."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, cast

from tidegate.errors import InvalidRequest
from tidegate.facades.replay.recording import LINE_BYTES_MAX

_DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)


def open_log(name: str) -> AbstractContextManager[IO[bytes]]:
    """Open a log by its name; `-` is the standard input, which stays open."""
    if name == "-":
        return nullcontext(sys.stdin.buffer)
    if name.endswith(".gz"):
        return cast("IO[bytes]", gzip.open(name, "rb"))
    if name.endswith(".xz"):
        return cast("IO[bytes]", io.BufferedReader(lzma.open(name, "rb")))
    return Path(name).open("rb")


def lines_of(file: IO[bytes], name: str) -> Generator[bytes]:
    """Yield each line; one that is too long is cut a byte after `LINE_BYTES_MAX`.

    Raises:
        InvalidRequest: a packed file is damaged, or ends too early.
    """
    try:
        while line := file.readline(LINE_BYTES_MAX + 1):
            rest = line
            while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
                rest = file.readline(LINE_BYTES_MAX + 1)
            yield line
    except _DAMAGED as error:
        raise InvalidRequest("log", name, f"a whole packed file: {error}") from None
