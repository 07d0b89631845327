"""What a page's end means, by what the browser and the guard said."""

from __future__ import annotations

import pytest

from tidegate.adapters.chromium.verdict import Course, failure, verdict_of_guard
from tidegate.errors import (
    EgressRefused,
    TidegateError,
    UpstreamFailed,
    UpstreamRejected,
    WorkerCrashed,
)
from tidegate.ports.egress_guard import Refusal

PLAIN = Course(address="http://10.0.0.1/a?b")
TUNNEL = Course(address="https://inside.example/a?b")


@pytest.mark.parametrize(
    ("course", "refused", "error"),
    [
        (PLAIN, "http://10.0.0.1/a?b", EgressRefused),
        (PLAIN, "http://10.0.0.1:80/a?b", EgressRefused),
        (PLAIN, "http://10.0.0.1/other", None),
        (PLAIN, "http://10.0.0.1:8080/a?b", None),
        (PLAIN, "no URL at all", None),
        (TUNNEL, "https://inside.example/", EgressRefused),
        (TUNNEL, "https://inside.example:443/", EgressRefused),
        (TUNNEL, "https://INSIDE.example/", EgressRefused),
        (TUNNEL, "https://inside.example:8443/", None),
        (TUNNEL, "https://other.example/", None),
        (Course(address="blob:x"), "http://10.0.0.1/", None),
        # The server answered, so what was refused was some part of the page.
        (Course(address=PLAIN.address, status=403), PLAIN.address, None),
        (Course(address=TUNNEL.address, status=200), "https://inside.example/", None),
        # The guard answered.
        (Course(address=PLAIN.address, status=403, marker="refused"), "", EgressRefused),
        (Course(address=PLAIN.address, status=407, marker="unknown"), "", EgressRefused),
        (Course(address=PLAIN.address, status=502, marker="failed"), "", UpstreamFailed),
    ],
)
def test_verdict_of_guard(course: Course, refused: str, error: type[TidegateError] | None) -> None:
    verdict = verdict_of_guard(course, [Refusal(url=refused, reason="it is private")])
    assert type(verdict) is (error or type(None))


def test_the_reason_is_the_one_of_the_refusal() -> None:
    refusals = [
        Refusal(url="http://10.0.0.2/", reason="another"),
        Refusal(url="http://10.0.0.1/a?b", reason="it is private"),
    ]
    verdict = verdict_of_guard(PLAIN, refusals)
    assert isinstance(verdict, EgressRefused)
    assert (verdict.url, verdict.reason) == ("http://10.0.0.1/a?b", "it is private")


@pytest.mark.parametrize(
    ("message", "facts", "error", "words"),
    [
        ("net::ERR_TUNNEL_CONNECTION_FAILED at x", {}, UpstreamFailed, "ERR_TUNNEL"),
        ("net::ERR_NAME_NOT_RESOLVED; maybe", {}, UpstreamFailed, "NOT_RESOLVED$"),
        ("net::ERR_UNSAFE_PORT at x", {}, EgressRefused, "no browser"),
        ("net::ERR_ABORTED at x", {}, UpstreamFailed, "ERR_ABORTED"),
        ("net::ERR_ABORTED at x", {"status": 204}, UpstreamRejected, "204 without a page"),
        ("net::ERR_ABORTED at x", {"downloading": True}, UpstreamRejected, "download"),
        ("net::ERR_HTTP_RESPONSE_CODE_FAILURE", {"status": 500}, UpstreamRejected, "500"),
        ("Page.goto: Download is starting", {}, UpstreamRejected, "download"),
        ("Page.goto: Page crashed", {}, WorkerCrashed, "died"),
        ("Target page, context or browser has been closed", {}, WorkerCrashed, "died"),
        ("something\nelse", {}, UpstreamFailed, "something$"),
        ("", {}, UpstreamFailed, "no reason"),
        ("net::", {}, UpstreamFailed, "net::"),
    ],
)
def test_failure(
    message: str, facts: dict[str, object], error: type[TidegateError], words: str
) -> None:
    course = Course(address="https://example.com/", **facts)  # type: ignore[arg-type]
    with pytest.raises(error, match=words):
        raise failure(course, message, [])


def test_a_refusal_explains_a_failure() -> None:
    refusals = [Refusal(url="https://inside.example/", reason="it is private")]
    with pytest.raises(EgressRefused, match="private"):
        raise failure(TUNNEL, "net::ERR_TUNNEL_CONNECTION_FAILED at x", refusals)
