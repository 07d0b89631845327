"""SPOP byte by byte: what is read, what is written, and what is neither."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.entrypoints.haproxy import frames
from tidegate.entrypoints.haproxy.frames import (
    Broken,
    Message,
    read_frame,
    read_messages,
    read_pairs,
    write_frame,
    write_pairs,
    write_variables,
)

HELLO = bytes.fromhex(
    # What HAProxy 2.6 sends first, as it was recorded, without its length.
    "0100000001000012737570706f727465642d76657273696f6e730803322e300e6d61782d6672616d652d73697a65"
    "03fcf0060c6361706162696c69746965730810706970656c696e696e672c6173796e6309656e67696e652d696408"
    "2463663262376365632d326231342d343862372d616230342d633131333463363164356365"
)


def test_a_greeting_is_read() -> None:
    frame = read_frame(HELLO)
    assert (frame.kind, frame.stream_id, frame.frame_id) == (frames.HELLO, 0, 0)
    assert read_pairs(frame.payload) == {
        "supported-versions": "2.0",
        "max-frame-size": 16380,
        "capabilities": "pipelining,async",
        "engine-id": "cf2b7cec-2b14-48b7-ab04-c1134c61d5ce",
    }


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x00", None),
        (b"\x01", False),
        (b"\x11", True),
        (b"\x02\x05", 5),
        (b"\x03\xf0\x00", 240),
        (b"\x04\xff\x80\x00", 255 + 2048),
        (b"\x05" + b"\xff" + b"\xf0" * 7 + b"\x00", None),
        (b"\x06\xc0\x00\x02\x01", "192.0.2.1"),
        (b"\x07" + b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\x01", "2001:db8::1"),
        (b"\x08\x04acme", "acme"),
        (b"\x08\x00", ""),
        (b"\x09\x02\xff\xfe", "��"),
    ],
)
def test_values_of_every_type_are_read(data: bytes, value: object) -> None:
    (message,) = read_messages(b"\x05check\x01\x01k" + data)
    if data[0] == 5:
        assert isinstance(message.arguments["k"], int)
    else:
        assert message == Message(name="check", arguments={"k": value})  # type: ignore[dict-item]


def test_several_messages_come_in_one_frame() -> None:
    one = b"\x03one\x02" + b"\x01a\x08\x01x" + b"\x01b\x11"
    assert read_messages(one + b"\x03two\x00") == [
        Message(name="one", arguments={"a": "x", "b": True}),
        Message(name="two"),
    ]


@given(value=st.integers(0, 2**32 - 1), stream_id=st.integers(0, 2**63), frame_id=st.integers(0, 9))
def test_numbers_come_back_as_they_went(value: int, stream_id: int, frame_id: int) -> None:
    data = write_frame(frames.ACK, stream_id, frame_id, write_pairs({"n": value, "t": "text"}))
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    frame = read_frame(data[4:])
    assert (frame.kind, frame.stream_id, frame.frame_id) == (frames.ACK, stream_id, frame_id)
    assert read_pairs(frame.payload) == {"n": value, "t": "text"}


def test_variables_are_set_for_the_transaction() -> None:
    assert write_variables({"status": 429, "why": "é"}) == (
        b"\x01\x03\x02" + b"\x06status" + b"\x03\xfd\x0b" + b"\x01\x03\x02\x03why\x08\x02\xc3\xa9"
    )


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"", frames.INVALID, id="nothing"),
        pytest.param(b"\x01\0\0\0", frames.INVALID, id="half a head"),
        pytest.param(b"\x03\0\0\0\x01", frames.INVALID, id="no ids"),
        pytest.param(b"\x03\0\0\0\x01\x01\xff", frames.INVALID, id="half an id"),
        pytest.param(b"\x03\0\0\0\x01" + b"\xff" * 12, frames.INVALID, id="an endless id"),
        pytest.param(b"\x03\0\0\0\x00\x01\x01", frames.FRAGMENTED, id="a fragment"),
    ],
)
def test_what_is_no_frame_is_said_to_be_none(data: bytes, status: int) -> None:
    with pytest.raises(Broken) as caught:
        read_frame(data)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "payload",
    [
        b"\x05che",
        b"\xff\xff\xff\xff",
        b"\x05check",
        b"\x05check\x01",
        b"\x05check\x01\x01k",
        b"\x05check\x01\x01k\x0a",
        b"\x05check\x01\x01k\x08\x7fshort",
        b"\x05check\x01\x01k\x06\x01",
        b"\x05check\xff\x01k\x00",
    ],
)
def test_what_are_no_messages_are_said_to_be_none(payload: bytes) -> None:
    with pytest.raises(Broken):
        read_messages(payload)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_frame, read_messages, read_pairs):
        with suppress(Broken):
            read(data)
