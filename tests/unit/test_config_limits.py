"""Limits in settings: every kind and field, other numbers for some, and wrong ones are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.bootstrap.limits import service_limits
from tidegate.bootstrap.shell import plans_of
from tidegate.config import load_settings
from tidegate.domain.claim import Claim
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit, SlidingWindow
from tidegate.domain.plan import DEFAULT_PLANS
from tidegate.domain.standing import Allowance, StandingLimits
from tidegate.errors import InvalidSetting

TOKENS = "{kind: rate, resource: tokens, units: 100, period_s: 60, per: [tenant]}"
GPUS = "{kind: capacity, resource: gpus, units: 8, per: [tenant], lend: null, borrow: 2}"


def standing(folder: Path, text: str) -> StandingLimits:
    (folder / "settings.yml").write_text(text)
    settings = load_settings({"TIDEGATE_CONFIG": str(folder / "settings.yml")}, folder=folder)
    return service_limits(settings, plans_of(settings)["free"])


def limits(*entries: str, more: str = "") -> str:
    return f"limits: [{', '.join(entries)}]\n{more}"


@pytest.mark.parametrize(
    ("entry", "limit"),
    [
        (
            "kind: rate, resource: r, units: 9, period_s: 2, burst: 18, leased: 3, shadow: true",
            RateLimit("r", units=9, period_s=2, burst=18, leased=3, shadow=True),
        ),
        (
            "kind: sliding, resource: r, units: 9, period_s: 0.5, exact: false, name: s",
            SlidingWindow("r", units=9, period_s=0.5, exact=False, name="s"),
        ),
        (
            "kind: sliding, resource: r, units: 9, period_s: 5, keys_max: 10, near_percent: 50",
            SlidingWindow("r", units=9, period_s=5, keys_max=10, near_percent=50),
        ),
        (
            "kind: quota, resource: r, units: 9, period: quarter, zone: Asia/Tokyo, per: [user]",
            Quota("r", units=9, period="quarter", zone="Asia/Tokyo", per=("user",)),
        ),
        (
            "kind: quota, resource: r, units: 9, every_s: 90, when_down: local",
            Quota("r", units=9, every_s=90, when_down="local"),
        ),
        (
            "kind: capacity, resource: r, units: 9, soft: 5, reserve: 1, overcommit: 1.5,"
            " hold_max_s: 60, lend: 4, borrow: null, per: [tenant]",
            Capacity(
                "r", units=9, soft=5, reserve=1, overcommit=1.5, hold_max_s=60,
                lend=4, borrow=None, per=("tenant",),
            ),
        ),
    ],
)  # fmt: skip
def test_every_kind_takes_every_field_of_its_own(tmp_path: Path, entry: str, limit: Limit) -> None:
    found = standing(tmp_path, limits(f"{{{entry}}}"))
    assert found.limits[-1] == limit


def test_numbers_for_some_tenants_scopes_and_plans(tmp_path: Path) -> None:
    text = limits(
        TOKENS,
        GPUS,
        "{kind: quota, resource: pages, units: 10, period: day, per: [cohort]}",
        more=(
            "overrides:\n"
            "  - {scope: 'team-*', limits: {tokens: {units: 200, burst: 400}}}\n"
            "  - {scope: ['team-*', '*.example.com'], limits: {host_requests: {units: 30}}}\n"
            "  - {scope: [lab], limits: {pages: {units: 30}}}\n"
            "cohorts: {lab: [team-a, team-b]}\n"
            "weights: {team-b: 5}\n"
            "plans: {basic: {weight: 3}}\n"
        ),
    )
    (tmp_path / "settings.yml").write_text(text)
    settings = load_settings({"TIDEGATE_CONFIG": str(tmp_path / "settings.yml")}, folder=tmp_path)
    plans = plans_of(settings)
    tenants = {
        tenant: Allowance(quotas=plans[plan].quotas, weight=plans[plan].weight)
        for tenant, plan in (("team-a", "basic"), ("team-b", "basic"), ("other", "free"))
    }
    policy = service_limits(settings, plans["free"]).policy(tenants)
    tokens = {tenant: policy.limit("tokens", (tenant,)).units for tenant in tenants}
    assert tokens == {"team-a": 200, "team-b": 200, "other": 100}
    assert policy.limit("host_requests", ("team-a", "www.example.com")).units == 30
    assert policy.limit("host_requests", ("other", "www.example.com")).units == 3
    assert policy.limit("requests", ("team-a",)).units == 50
    assert policy.weights == {"team-a": 3, "team-b": 5}
    assert policy.cohort_of == {"team-a": "lab", "team-b": "lab"}
    pages = {
        tenant: policy.ask(Claim(tenant=tenant, take={"pages": 1}), lease_us=0, now_us=0)
        for tenant in tenants
    }
    assert {
        tenant: (ask.cells[0].scope, ask.rows[0][0].ceiling) for tenant, ask in pages.items()
    } == {"team-a": (("lab",), 30), "team-b": (("lab",), 30), "other": (("default",), 10)}


def test_a_tenant_of_the_mapping_may_be_lifted(tmp_path: Path) -> None:
    found = standing(tmp_path, limits(TOKENS, more="overrides: {acme: {tokens: {units: null}}}"))
    policy = found.policy({"acme": Allowance(quotas=DEFAULT_PLANS["free"].quotas)})
    assert policy.limit("tokens", ("acme",)).units > 10**9
    assert policy.limit("requests", ("acme",)).units == 20


def test_weights_of_plans_grow_with_their_rates() -> None:
    assert [plan.weight for plan in DEFAULT_PLANS.values()] == [1, 2, 8, 40]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (limits("{kind: window, resource: r, units: 1}"), "limits[0].kind"),
        (limits("{resource: r, units: 1}"), "limits[0].kind"),
        (limits("{kind: rate, resource: r, units: 1, zone: UTC}"), "limits[0].zone"),
        (limits(TOKENS, "{kind: quota, resource: r, units: 1, burst: 2}"), "limits[1].burst"),
        (limits("{kind: sliding, resource: r, units: 1}"), "limits[0].period_s"),
        (limits("{kind: quota, resource: r, units: 1, period: year}"), "limits[0].period"),
        (
            limits("{kind: quota, resource: r, units: 1, period: day, every_s: 9}"),
            "limits[0].period",
        ),
        (limits("{kind: quota, resource: r, units: 1, period: day, zone: X}"), "limits[0].zone"),
        (limits("{kind: capacity, resource: r, units: 1, reserve: 1}"), "limits[0].reserve"),
        (limits("{kind: capacity, resource: r, units: 1, lend: 1}"), "limits[0].per"),
        (limits("{kind: capacity, resource: r, units: 1, when_down: no}"), "limits[0].when_down"),
        (limits("{kind: capacity, resource: r, units: 1, keys_max: 0}"), "limits[0].keys_max"),
        (limits(TOKENS, TOKENS), "limits: name"),
        (limits("{kind: capacity, resource: memory, units: 1, claimable: true}"),
         "limits[0].claimable"),
        (limits(TOKENS, more="overrides: {acme: {token: {units: 1}}}"), "overrides.acme.token"),
        (limits(TOKENS, more="overrides: {b: {}, acme: {tokens: {units: 0}}}"),
         "overrides.acme.tokens.units"),
        (limits(TOKENS, more="overrides: {acme: {tokens: {units: 2, brst: 1}}}"),
         "overrides.acme.tokens.brst"),
        (limits(TOKENS, more="overrides: {acme: {tokens: {units: 1, burst: 9007199254740991}}}"),
         "overrides.acme.tokens.burst"),
        (limits(GPUS, more="overrides: {acme: {gpus: {units: 4, lend: 5}}}"),
         "overrides.acme.gpus.lend"),
        (limits(TOKENS, more="overrides: {acme: {browsers: {units: 1}}}"),
         "overrides.acme.browsers"),
        (limits(TOKENS, more="overrides: {acme: {requests: {units: 1}}}"),
         "overrides: acme.requests"),
        (limits(TOKENS, more="overrides: [{scope: [a, b], limits: {tokens: {units: 1}}}]"),
         "overrides[0].limits.tokens"),
        (limits(TOKENS, more="overrides: [{scope: a, limits: {tokens: {}}}]"),
         "overrides[0].limits.tokens.units"),
        (limits(TOKENS, more="overrides: [{limits: {tokens: {units: 1}}}]"), "overrides[0].scope"),
        (limits(TOKENS, more="overrides: [{scope: a, limits: {tokens: {units: 1}}},"
                " {scope: a, limits: {tokens: {units: 2}}}]"), "overrides[1].limits.tokens"),
        ("cohorts: {a: [x], b: [x]}", "cohorts.b"),
        ("cohorts: {a: x}", "cohorts.a"),
        ("cohorts: {a: ['']}", "cohorts.a"),
        (limits("{kind: capacity, resource: t, units: 1, per: [cohort], lend: 1}"),
         "limits[0].per"),
        ("weights: {acme: 0}", "weights.acme"),
        ("plans: {free: {weight: 0}}", "plans.free.weight"),
        ("plans: {basic: {quotas: {sessions: x}}}", "plans.basic.quotas.sessions"),
    ],
)  # fmt: skip
def test_a_wrong_limit_is_named(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        standing(tmp_path, text)
    assert caught.value.field == field
