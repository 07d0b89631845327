"""What a PDF worker and the service say to each other: length-prefixed msgpack frames.

The answer comes page by page in small frames, so decoding one never holds up the event loop and
a worker that was taken over can make the service hold no more than the limits below.
The bytes of the document follow their `Job` frame as they are.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

DOCUMENT_BYTES_MAX = 20 * 2**20
TEXT_BYTES_MAX = 20 * 2**20
PAGES_MAX = 2_000
# Small enough to decode in well under a millisecond, large enough for almost every page.
PIECE_CHARS_MAX = 64 * 2**10
FRAME_BYTES_MAX = 512 * 2**10
PREFIX_BYTES = 4

METADATA_NAMES = (
    "Title",
    "Author",
    "Subject",
    "Keywords",
    "Creator",
    "Producer",
    "CreationDate",
    "ModDate",
)
METADATA_CHARS_MAX = 4 * 2**10

Value = Annotated[str, Meta(min_length=1, max_length=METADATA_CHARS_MAX)]


class Job(Struct, frozen=True, tag=True):
    """To the worker: `size_bytes` of document follow; at most `cpu_s` seconds of CPU time."""

    size_bytes: int
    cpu_s: int


class Ready(Struct, frozen=True, tag=True):
    """From the worker, once: it is confined and runs as user `uid`."""

    uid: int


class Opened(Struct, frozen=True, tag=True):
    """The document could be opened. The text of its pages follows."""

    page_count: Annotated[int, Meta(ge=1, le=PAGES_MAX)]
    metadata: Annotated[dict[str, Value], Meta(max_length=len(METADATA_NAMES))]


class Text(Struct, frozen=True, tag=True):
    """A piece of the current page, the last one of it if `ends_page`."""

    text: Annotated[str, Meta(max_length=PIECE_CHARS_MAX)]
    ends_page: bool


class Done(Struct, frozen=True, tag=True):
    """Everything was sent; the worker waits for the next job."""


class Refused(Struct, frozen=True, tag=True):
    """The document cannot be read, for this reason; the worker waits for the next job."""

    reason: Annotated[str, Meta(max_length=500)]


Reply = Ready | Opened | Text | Done | Refused

_encoder = msgspec.msgpack.Encoder()
_job_decoder = msgspec.msgpack.Decoder(Job)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def pack(message: Job | Reply) -> bytes:
    """One frame: its length in four bytes, most significant first, then the message."""
    body = _encoder.encode(message)
    return len(body).to_bytes(PREFIX_BYTES, "big") + body


def body_bytes(prefix: bytes) -> int:
    """The length a frame announces.

    Raises:
        ValueError: longer than any honest frame.
    """
    length = int.from_bytes(prefix, "big")
    if length > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {length} bytes")
    return length


def unpack_job(body: bytes) -> Job:
    """The job in a frame that the service sent."""
    return _job_decoder.decode(body)


def unpack_reply(body: bytes) -> Reply:
    """The reply in a frame that a worker sent, which may be hostile.

    Raises:
        ValueError: not a reply.
    """
    return _reply_decoder.decode(body)
