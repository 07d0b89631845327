"""Logs become requests: in every format, whatever stands in them, in the order of their time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import Claim
from tidegate.errors import InvalidRequest
from tidegate.facades.replay import recording
from tidegate.facades.replay.recording import InOrder, Recording
from tidegate.facades.replay.request import Request, Unsaid, instant_us

NOON_US = 1_795_262_400_000_000
"""2026-11-21T12:00:00Z."""
SECOND_US = 1_000_000
JSON_LINE = (
    b'{"at":"2026-11-21T12:00:00.25Z","tenant":"acme","take":{"requests":2},"hold":{"b":1},'
    b'"held_s":1.5,"host":"h","user":"u","route":"/r","attributes":{"team":"x"},"priority":7}'
)
CSV_HEADER = (
    b"at,tenant,take.requests,hold.b,held_s,host,user,route,attributes.team,priority,take.tokens\n"
)
ACCESS_LINE = (
    b'10.0.0.9 - bob [21/Nov/2026:05:00:01 -0700] "GET /a/b?q=1 HTTP/1.1" 404 12'
    b' "http://from/" "Mozilla \\"5\\""\n'
)


@pytest.mark.parametrize(
    ("at", "expected_us"),
    [
        ("2026-11-21T12:00:00Z", NOON_US),
        ("2026-11-21T12:00:00.000001Z", NOON_US + 1),
        ("2026-11-21T05:00:00-07:00", NOON_US),
        (1795262400, NOON_US),
        (1795262400.000001, NOON_US + 1),
        ("1795262400.5", NOON_US + 500_000),
        (0, 0),
    ],
)
def test_instants(at: float | str, expected_us: int) -> None:
    assert instant_us(at) == expected_us


@pytest.mark.parametrize(
    "at",
    [
        *("", "noon", "2026-11-21T12:00:00", "2026-13-01T00:00:00Z", "3500-01-01T00:00:00Z"),
        *(-1, -0.5, 1e300, float("inf"), float("nan"), 1_795_262_400_000, "-1", "1e5"),
    ],
)
def test_instants_that_are_none(at: float | str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        instant_us(at)
    assert caught.value.field == "at"


def test_the_formats_say_the_same() -> None:
    row = b'"2026-11-21T12:00:00.25Z",acme,2,1,1.5,h,u,/r,x,7,\r\n'
    (of_json,) = Recording([b"\xef\xbb\xbf", b"\n", JSON_LINE], Unsaid())
    (of_csv,) = Recording([CSV_HEADER, b"\r\n", row], Unsaid())
    assert of_json == of_csv
    assert of_json.at_us == NOON_US + 250_000
    assert of_json.held_us == 1_500_000
    assert of_json.claim == Claim(
        tenant="acme",
        take={"requests": 2},
        hold={"b": 1},
        host="h",
        user="u",
        route="/r",
        attributes={"team": "x"},
        priority=7,
    )


@pytest.mark.parametrize(
    ("tenant_from", "tenant"), [(None, "10.0.0.9"), ("user", "bob"), ("route", "/a/b")]
)
def test_web_logs(tenant_from: str | None, tenant: str) -> None:
    common = b'::1 - - [21/Nov/2026:12:00:00 +0000] "\\x16\\x03" 400 -\n'
    first, second = Recording([ACCESS_LINE, common], Unsaid(tenant_from=tenant_from))
    assert first.at_us == NOON_US + SECOND_US
    assert first.claim == Claim(
        tenant=tenant,
        take={"requests": 1},
        user="bob",
        route="/a/b",
        attributes={"ip": "10.0.0.9", "method": "GET", "status": "404"},
    )
    assert (second.claim.user, second.claim.route, second.at_us) == (None, None, NOON_US)
    assert second.claim.tenant == ("::1" if tenant_from is None else "-")


def test_what_a_line_does_not_say() -> None:
    unsaid = Unsaid(take={"t": 3}, hold={"b": 1}, held_us=5)
    lines = [b'{"at":1}', b'{"at":2,"hold":{"b":2}}', b'{"at":3,"take":{"t":1}}']
    requests = list(Recording(lines, unsaid))
    assert [(each.claim.take, each.claim.hold, each.held_us) for each in requests] == [
        ({"t": 3}, {"b": 1}, 5),
        ({}, {"b": 2}, 5),
        ({"t": 1}, {}, 5),
    ]
    assert requests[0].claim.tenant == "default"
    with pytest.raises(InvalidRequest, match="how many seconds a hold lasts"):
        Unsaid(hold={"b": 1})


def test_tenants_from_any_field_and_fields_without_a_meaning() -> None:
    lines = [
        b'{"at":1,"team":"red","attributes":{"zone":"a"}}',
        b'{"at":2,"attributes":{"team":"blue"},"status":200}',
        b'{"at":3,"tenant":"x","team":null}',
        b'{"at":4,"team":7}',
    ]
    log = Recording(lines, Unsaid(tenant_from="team"))
    assert [each.claim.tenant for each in log] == ["red", "blue", "-", "7"]
    assert log.ignored == ["status"]
    lax = Recording([b'{"at":1,"a":1,"tenant":"x"}', b'{"at":2,"take":{"r":"1"}}'], Unsaid())
    assert [each.claim.tenant for each in lax] == ["x"]
    assert (lax.ignored, lax.broken) == (["a"], 1)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([b'{"at":'], "truncated"),
        ([b'{"tenant":"a"}'], "missing required field `at`"),
        ([b'{"at":1,"tenant":""}'], "$.tenant"),
        ([b'{"at":1,"take":{"r":0}}'], "$.take"),
        ([b'{"at":1,"take":{"r":1.5}}'], "$.take"),
        ([b'{"at":1,"hold":{"r":1}}'], "held_s"),
        ([b'{"at":1,"hold":{"r":1},"held_s":-1}'], "held_s"),
        ([b'{"at":1,"priority":1001}'], "priority"),
        ([b'{"at":1795262400000}'], "milliseconds"),
        ([b'{"at":1,"tenant":"\xff"}'], "utf-8"),
        ([b'{"at":1,"x":' + b"[" * 60_000], "recursion"),
        ([b'{"at":1,"tenant":"' + b"x" * 70_000 + b'"}'], "longer than 65536 bytes"),
        ([b"at,tenant\n", b"1\n"], "columns=1"),
        ([b"at,tenant\n", b'1,"a\n'], "unexpected end of data"),
        ([b"at,take.r\n", b"1,many\n"], "$.take"),
        ([b"at,take.r\n", b"1,\xff\n"], "utf-8"),
        ([ACCESS_LINE, b"nonsense\n"], "common or combined"),
        ([ACCESS_LINE, ACCESS_LINE.replace(b"Nov", b"Nvo")], "time="),
        ([ACCESS_LINE, ACCESS_LINE.replace(b"21/Nov", b"31/Nov")], "at="),
    ],
)
def test_broken_lines_are_counted_and_named(lines: list[bytes], why: str) -> None:
    first = b'{"at":1}' if lines[0].startswith(b"{") else lines.pop(0)
    log = Recording([first, *lines, first if len(first) > 20 else b""], Unsaid())
    list(log)
    assert log.broken == 1
    assert log.first_broken[0].line == 2
    assert why.lower() in log.first_broken[0].why.lower()
    with pytest.raises(InvalidRequest, match="line 2="):
        list(Recording([first, *lines], Unsaid(), strict=True))


def test_only_the_first_broken_lines_are_kept() -> None:
    log = Recording([b'{"at":1}', *[b"{"] * 500], Unsaid())
    assert (len(list(log)), log.read, log.broken) == (1, 501, 500)
    assert len(log.first_broken) == recording.NAMED_MAX


@pytest.mark.parametrize("line", [b"nonsense", b"a,b,c", b'"', b"\xff\xfe\x00"])
def test_a_log_in_no_format(line: bytes) -> None:
    with pytest.raises(InvalidRequest, match="common or combined"):
        list(Recording([line], Unsaid()))


@given(
    times=st.lists(st.integers(0, 50), max_size=60),
    spare=st.integers(0, 10),
)
def test_requests_are_put_in_order_as_far_as_the_spare_reaches(
    times: list[int], spare: int
) -> None:
    requests = [Request(at_us=at_us, claim=Claim(id=str(n))) for n, at_us in enumerate(times)]
    ordered = InOrder(requests, spare=spare)
    out = list(ordered)
    assert Counter(each.claim.id for each in out) == Counter(each.claim.id for each in requests)
    falls = sum(later.at_us < earlier.at_us for earlier, later in pairwise(out))
    assert falls <= ordered.late
    if spare >= len(times):
        assert (falls, ordered.late) == (0, 0)
        assert [each.claim.id for each in out] == [
            each.claim.id for each in sorted(requests, key=lambda each: each.at_us)
        ]
