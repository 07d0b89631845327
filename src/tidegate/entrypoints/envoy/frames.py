"""The frames of HTTP/2, cut out of what a peer sends; header blocks are put together here.

Every size has a bound before anything is kept.

Source: RFC 9113, sections 3.4, 4 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = 0, 1, 2, 3, 4, 5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR = 0, 1, 3, 6
REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 9, 11

FRAME_MAX_BYTES, HEAD_MAX_BYTES = 16_384, 16_384
HEAD_BYTES = 9
ID_MAX = 2**31 - 1

_SIZES = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_OF_CONNECTION = (SETTINGS, PING, GOAWAY)
_OF_EITHER = (WINDOW_UPDATE,)

Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream id, payload. Of HEADERS: without padding, and the whole block."""


class Broken(Exception):
    """The peer does not speak HTTP/2, or more of it than we take."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class FrameReader:
    """What has come of a connection and is not taken yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._block: tuple[int, int, bytearray] | None = None
        self.greeted = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Return the frames that are complete now.

        Raises:
            Broken: with the error code to close the connection with.
        """
        buffer = self._buffer
        buffer += data
        place = 0
        if not self.greeted:
            if not PREFACE.startswith(bytes(buffer[: len(PREFACE)])):
                raise Broken(PROTOCOL_ERROR)
            if len(buffer) < len(PREFACE) + HEAD_BYTES:
                return
            place, self.greeted = len(PREFACE), True
            if buffer[place + 3] != SETTINGS:
                raise Broken(PROTOCOL_ERROR)
        while len(buffer) - place >= HEAD_BYTES:
            size = int.from_bytes(buffer[place : place + 3], "big")
            if size > FRAME_MAX_BYTES:
                raise Broken(FRAME_SIZE_ERROR)
            start, end = place + HEAD_BYTES, place + HEAD_BYTES + size
            if len(buffer) < end:
                break
            stream_id = int.from_bytes(buffer[place + 5 : start], "big") & ID_MAX
            kind, flags = buffer[place + 3], buffer[place + 4]
            frame = self._frame(kind, flags, stream_id, bytes(buffer[start:end]))
            place = end
            if frame is not None:
                yield frame
        del buffer[:place]

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> Frame | None:
        """Return the frame, checked, or None if more of its header block is to come."""
        if (kind == CONTINUATION) != (self._block is not None):
            raise Broken(PROTOCOL_ERROR)
        if kind == CONTINUATION:
            return self._gather(stream_id, flags, payload)
        if kind == PUSH_PROMISE:
            raise Broken(PROTOCOL_ERROR)
        placed = (kind in _OF_CONNECTION) == (stream_id == 0)
        if not placed and kind < CONTINUATION and kind not in _OF_EITHER:
            raise Broken(PROTOCOL_ERROR)
        if len(payload) != _SIZES.get(kind, len(payload)):
            raise Broken(FRAME_SIZE_ERROR)
        if kind != HEADERS:
            return kind, flags, stream_id, payload
        if not stream_id % 2:
            raise Broken(PROTOCOL_ERROR)
        payload = unpadded(flags, payload)
        if flags & WITH_PRIORITY:
            if len(payload) < 5:
                raise Broken(FRAME_SIZE_ERROR)
            payload = payload[5:]
        self._block = (stream_id, flags, bytearray())
        return self._gather(stream_id, flags, payload)

    def _gather(self, stream_id: int, flags: int, payload: bytes) -> Frame | None:
        assert self._block is not None
        begun, first_flags, block = self._block
        if stream_id != begun:
            raise Broken(PROTOCOL_ERROR)
        block += payload
        # An empty one that does not end the block is nothing but work.
        if len(block) > HEAD_MAX_BYTES or not (payload or flags & END_HEADERS):
            raise Broken(ENHANCE_YOUR_CALM)
        if not flags & END_HEADERS:
            return None
        self._block = None
        return HEADERS, first_flags, stream_id, bytes(block)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame as it is sent."""
    size = len(payload).to_bytes(3, "big")
    return size + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return what a frame carries without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken(PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]
