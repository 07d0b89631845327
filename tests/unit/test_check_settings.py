"""Settings of checks: tried against the limits before the start, and named when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.bootstrap.checks import check_rules
from tidegate.bootstrap.limits import service_limits
from tidegate.config import load_settings
from tidegate.domain.check import Asked, CheckRules
from tidegate.domain.plan import DEFAULT_PLANS
from tidegate.errors import InvalidSetting

LIMITS = """
limits:
  - {kind: capacity, resource: seats, units: 2}
  - {kind: rate, resource: by_region, units: 2, period_s: 1, per: [region]}
"""


def rules(folder: Path, text: str) -> CheckRules:
    path = folder / "settings.yml"
    path.write_text(LIMITS + text, "utf-8")
    settings = load_settings({"TIDEGATE_CONFIG": str(path)}, folder=folder)
    return check_rules(settings, service_limits(settings, DEFAULT_PLANS["free"]).policy())


def test_without_settings_a_check_takes_a_request(tmp_path: Path) -> None:
    claim, lease_s = rules(tmp_path, "").claim(Asked(tenant="acme"))
    assert (claim.take, claim.hold, lease_s) == ({"requests": 1}, {}, 30.0)


def test_rules_are_taken_over(tmp_path: Path) -> None:
    text = """
check:
  take: {operations: 2}
  attributes: {region: X-Region}
  rules:
    - {methods: [post], host: Api.Example.com, path: /jobs, hold: {seats: 1}, lease_s: 5}
    - {path: /far, take: {by_region: 1}}
"""
    made = rules(tmp_path, text)
    asked = Asked(tenant="acme", method="POST", host="api.example.com", uri="/jobs/1")
    claim, lease_s = made.claim(asked)
    assert (claim.take, claim.hold, lease_s) == ({}, {"seats": 1}, 5.0)
    assert made.claim(Asked(tenant="acme", uri="/far"))[0].take == {"by_region": 1}
    assert made.claim(Asked(tenant="acme"))[0].take == {"operations": 2}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("check: {take: {nothing: 1}}", "check.take.nothing"),
        ("check: {take: {seats: 1}}", "check.take.seats"),
        ("check: {take: {requests: 0}}", "check.take"),
        ("check: {take: {requests: many}}", "check.take"),
        ("check: {rules: [{take: {requests: 1}}, {take: {gone: 1}}]}", "check.rules[1].take.gone"),
        ("check: {rules: [{hold: {requests: 1}}]}", "check.rules[0].hold.requests"),
        ("check: {rules: [{path: jobs}]}", "check.rules[0].path"),
        ("check: {rules: [{hold: {seats: 1}, lease_s: 0}]}", "check.rules[0].lease_s"),
        ("check: {rules: [{paths: /jobs}]}", "check.rules[0].paths"),
        ("check: {rules: [{take: {by_region: 1}}]}", "check.rules[0].attributes.region"),
        ("check: {headers: {tenant: ''}}", "check.headers.tenant"),
        ("check: {headers: {uri: 'X Uri'}}", "check.headers.uri"),
        ("check: {attributes: {region: ''}}", "check.attributes"),
        ("envoy: {listen: '8081'}", "envoy.listen"),
        ("envoy: {listen: 'somewhere:'}", "envoy.listen"),
        ("envoy: {domain: ''}", "envoy.domain"),
        ("envoy: {rules: [{entries: {a: b}, take: {gone: 1}}]}", "envoy.rules[0].take.gone"),
        ("envoy: {rules: [{entries: {a: b}, take: {seats: 1}}]}", "envoy.rules[0].take.seats"),
        ("envoy: {rules: [{entries: {a: b}}]}", "envoy.rules[0]"),
        ("haproxy: {listen: '[::1]'}", "haproxy.listen"),
        ("haproxy: {port: 1}", "haproxy.port"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        rules(tmp_path, text)
    assert caught.value.field.startswith(field)


@pytest.mark.parametrize("listen", ["127.0.0.1:8081", "[::1]:8081", "gate.example:1", ""])
def test_addresses_are_taken(tmp_path: Path, listen: str) -> None:
    rules(tmp_path, f"envoy: {{listen: '{listen}'}}\nhaproxy: {{listen: '{listen}'}}")


def test_what_envoy_says_may_divide_limits(tmp_path: Path) -> None:
    rules(tmp_path, "envoy: {rules: [{entries: {a: b}, take: {by_region: 1}}]}")
