"""Envoy's messages, byte by byte: what is read, what is written, and what cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.entrypoints.envoy.messages import (
    OVER_LIMIT,
    Descriptor,
    DescriptorStatus,
    RateLimitRequest,
    RateLimitResponse,
    Unreadable,
    read_request,
)


def field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2, len(data))) + data


def entry(key: bytes, value: bytes) -> bytes:
    return field(1, field(1, key) + field(2, value))


TENANT = entry(b"tenant", b"acme")


@pytest.mark.parametrize(
    ("data", "hits", "descriptors"),
    [
        pytest.param(b"", 1, (), id="nothing"),
        pytest.param(
            field(2, TENANT), 1, (Descriptor(entries=(("tenant", "acme"),)),), id="a descriptor"
        ),
        pytest.param(b"\x18\xac\x02", 300, (), id="hits of two bytes"),
        pytest.param(
            field(2, TENANT + field(3, b"")),
            1,
            (Descriptor(entries=(("tenant", "acme"),), hits=0),),
            id="an empty wrapper is 0",
        ),
        pytest.param(
            field(2, TENANT + field(3, b"\x08\x07")),
            1,
            (Descriptor(entries=(("tenant", "acme"),), hits=7),),
            id="hits of its own",
        ),
        pytest.param(
            field(2, entry(b"k", b"") + b"\x9a\x06\x01x\x21" + b"12345678" + b"\x25" + b"1234"),
            1,
            (Descriptor(entries=(("k", ""),)),),
            id="unknown fields of every type",
        ),
    ],
)
def test_requests_are_read(data: bytes, hits: int, descriptors: tuple[Descriptor, ...]) -> None:
    assert read_request(field(1, b"d") + data) == RateLimitRequest(
        domain="d", hits=hits, descriptors=descriptors
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a", id="no length"),
        pytest.param(b"\x0a\x05abc", id="cut off"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="a huge length"),
        pytest.param(b"\x18" + b"\xff" * 10, id="a number without an end"),
        pytest.param(b"\x18\x80", id="a number cut off"),
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x00\x00", id="field 0"),
        pytest.param(b"\x08\x01", id="a number for a text"),
        pytest.param(b"\x1a\x00", id="bytes for a number"),
        pytest.param(field(1, b"\xff"), id="no UTF-8"),
        pytest.param(field(2, b"\x0a\x05"), id="a descriptor cut off"),
        pytest.param(field(2, field(3, b"\x08")), id="hits cut off"),
    ],
)
def test_what_is_no_request_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read_request(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        request = read_request(data)
    except Unreadable:
        return
    assert request.hits >= 1


def test_a_response_is_written() -> None:
    response = RateLimitResponse(
        code=OVER_LIMIT,
        statuses=(
            DescriptorStatus(),
            DescriptorStatus(
                code=OVER_LIMIT,
                name="n",
                units=300,
                window_s=60,
                remaining=2,
                reset_us=1_500_000,
            ),
        ),
        headers=(("a", "b"),),
        body=b"{}",
    )
    limit = field(2, b"\x08\xac\x02" + b"\x10\x02" + field(3, b"n"))
    until = field(4, b"\x08\x01" + b"\x10\x80\xca\xb5\xee\x01")
    assert response.encode() == b"".join(
        (
            b"\x08\x02",
            field(2, b"\x08\x01"),
            field(2, b"\x08\x02" + limit + b"\x18\x02" + until),
            field(3, field(1, b"a") + field(2, b"b")),
            field(5, b"{}"),
        )
    )


def test_numbers_too_large_for_their_fields_are_cut() -> None:
    status = DescriptorStatus(name="n", units=2**40, remaining=2**40)
    data = RateLimitResponse(code=1, statuses=(status,)).encode()
    assert data.count(b"\xff\xff\xff\xff\x0f") == 2
