"""What a check claims: which rule counts, and how paths, hosts and values are read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.domain.check import (
    UNKNOWN,
    VALUE_LENGTH_MAX,
    Asked,
    CheckRule,
    CheckRules,
    host_of,
    outcome_of,
    path_of,
)

RULES = CheckRules(
    [
        CheckRule(path="/chat", methods=frozenset({"POST"}), take={"tokens": 10}),
        CheckRule(path="/chat", methods=frozenset({"GET"}), take={"tokens": 1}),
        CheckRule(host="*.eu.example.com", take={"eu": 1}),
        CheckRule(host="admin.example.com", path="/jobs/", hold={"jobs": 1}, lease_s=5, route="j"),
    ],
    take={"requests": 1},
)


@pytest.mark.parametrize(
    ("method", "host", "uri", "taken"),
    [
        ("POST", "", "/chat", {"tokens": 10}),
        ("POST", "", "/chat?x=/other", {"tokens": 10}),
        ("POST", "", "/chat/1/messages", {"tokens": 10}),
        ("GET", "", "/chat", {"tokens": 1}),
        ("HEAD", "", "/chat", {"tokens": 1}),
        ("DELETE", "", "/chat", {"requests": 1}),
        ("POST", "", "/chatter", {"requests": 1}),
        ("POST", "", "/%63hat", {"tokens": 10}),
        ("POST", "", "//chat", {"tokens": 10}),
        ("POST", "", "/x/../chat", {"tokens": 10}),
        ("POST", "", "/./chat/", {"tokens": 10}),
        ("POST", "", "/chat%2F1", {"tokens": 10}),
        ("POST", "", "http://other.example/chat", {"tokens": 10}),
        ("GET", "a.eu.example.com", "/", {"eu": 1}),
        ("GET", "A.EU.Example.com.:8443", "/", {"eu": 1}),
        ("GET", "eu.example.com", "/", {"requests": 1}),
        ("GET", "", "", {"requests": 1}),
    ],
)
def test_the_first_rule_that_matches_counts(
    method: str, host: str, uri: str, taken: dict[str, int]
) -> None:
    claim, _ = RULES.claim(Asked(tenant="acme", method=method, host=host, uri=uri))
    assert claim.take == taken


def test_a_rule_says_what_is_held_for_how_long_and_under_which_route() -> None:
    claim, lease_s = RULES.claim(
        Asked(tenant="acme", host="admin.example.com", uri="/jobs/7", user="ann", id="1")
    )
    assert (claim.take, claim.hold, claim.route, claim.id) == ({}, {"jobs": 1}, "j", "1")
    assert (claim.host, claim.user, lease_s) == ("admin.example.com", "ann", 5)
    other, _ = RULES.claim(Asked(tenant="acme", host="admin.example.com", uri="/jobs"))
    assert other.hold == {}


def test_what_nobody_says_is_shared_and_what_is_long_is_cut() -> None:
    asked = Asked(tenant="acme", attributes={"plan": "", "region": "r" * 1000}, user="u" * 1000)
    claim, _ = RULES.claim(asked)
    assert (claim.host, claim.route) == (UNKNOWN, UNKNOWN)
    assert claim.user == "u" * VALUE_LENGTH_MAX
    assert claim.attributes == {"plan": UNKNOWN, "region": "r" * VALUE_LENGTH_MAX}


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/", "/"),
        ("/a/b?c#d", "/a/b"),
        ("/a//b/./c/../d", "/a/b/d"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/b/.", "/a/b/"),
        ("/a/%2e%2e/b", "/b"),
        ("/%25%36%33", "/%63"),
        ("/caf%C3%A9", "/café"),
        ("/%ff", "/�"),
        ("/a?b=/../c", "/a"),
        ("https://host/a", "/a"),
        ("https://host", "/"),
        ("*", "/"),
        ("", "/"),
    ],
)
def test_paths_are_read_as_servers_read_them(uri: str, path: str) -> None:
    assert path_of(uri) == path


@given(st.text(st.sampled_from("/.%2eEfFa?#\\: \0é"), max_size=30))
@example("/%2e%2e/%2e%2e")
def test_every_path_is_absolute_and_has_no_dots_left(uri: str) -> None:
    path = path_of(uri)
    assert path.startswith("/")
    assert not {".", ".."} & set(path.split("/"))
    assert "//" not in path


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("Example.com", "example.com"),
        ("example.com:8080", "example.com"),
        ("example.com:", "example.com"),
        ("example.com.", "example.com"),
        ("[2001:db8::1]:443", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("", ""),
    ],
)
def test_hosts_are_compared_without_port_and_case(authority: str, host: str) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "success"),
        (404, "success"),
        (500, "failed"),
        (503, "failed"),
        (408, "timeout"),
        (504, "timeout"),
        (499, "cancelled"),
        (9, "cancelled"),
        (0, "cancelled"),
    ],
)
def test_a_status_says_how_a_request_ended(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome
