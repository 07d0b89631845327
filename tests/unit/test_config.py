"""Settings: where they come from, which one wins, and how a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.bootstrap.shell import plans_of
from tidegate.config import Settings, default_data_dir, load_settings
from tidegate.config.settings import PlanSettings
from tidegate.domain.limit import Capacity, Quota, RateLimit
from tidegate.errors import InvalidSetting

RATE = "limits: [{kind: rate, resource: r, units: 1"


def load(folder: Path, text: str = "", **environ: str) -> Settings:
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "a.yml").write_text(text)
    return load_settings(environ, folder=folder)


def test_defaults_need_no_file(tmp_path: Path) -> None:
    settings = load_settings({}, folder=tmp_path)
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert (settings.browser.slots, settings.pdf.workers, settings.browser.timeout_s) == (3, 2, 3.0)


def test_environment_wins_over_later_files_over_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "b.yml").write_text("port: 2\nbrowser: {slots: 5}")
    settings = load(tmp_path, "port: 1\nbrowser: {timeout_s: 9}\nhost: '::1'", TIDEGATE_PORT="3")
    assert (settings.port, settings.host) == (3, "::1")
    assert (settings.browser.slots, settings.browser.timeout_s) == (5, 9.0)


def test_which_form_is_used_is_no_setting(tmp_path: Path) -> None:
    assert load(tmp_path, TIDEGATE_PURE="1") == load(tmp_path)


def test_variables_are_put_in(tmp_path: Path) -> None:
    text = "port: ${A:-81}\nhost: ${B}\nuser_agent: 'x ${C:-y}'"
    settings = load(tmp_path, text, B="h: {a: b}")
    assert (settings.port, settings.host, settings.user_agent) == (81, "h: {a: b}", "x y")


def test_lists_from_the_environment(tmp_path: Path) -> None:
    settings = load(tmp_path, TIDEGATE_EGRESS_ALLOW="10.0.0.0/8, a.example:80,")
    assert settings.egress.allow == ("10.0.0.0/8", "a.example:80")


def test_own_limits(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
limits:
  - {kind: rate, resource: tokens, units: 100, period_s: 60, per: [tenant], claimable: true}
  - {kind: quota, resource: bytes, units: 5, period: month}
  - {kind: capacity, resource: gpus, units: 2}
""",
    )
    assert settings.own_limits() == [
        RateLimit("tokens", units=100, period_s=60, per=("tenant",)),
        Quota("bytes", units=5, period="month"),
        Capacity("gpus", units=2),
    ]


@pytest.mark.parametrize(
    ("text", "environ", "field"),
    [
        ("", {"TIDEGATE_PORT": "many"}, "port"),
        ("", {"TIDEGATE_PORT": "70000"}, "port"),
        ("", {"TIDEGATE_PROT": "1"}, "TIDEGATE_PROT"),
        ("", {"TIDEGATE_ADMIN_KEY": "short"}, "admin_key"),
        ("", {"TIDEGATE_CONFIG": "/does/not/exist"}, "TIDEGATE_CONFIG"),
        ("prot: 1", {}, "prot"),
        ("browser: {slots: 0}", {}, "browser.slots"),
        ("browser: {slots: '3'}", {}, "browser.slots"),
        ("browser: {timeout_s: .nan}", {}, "browser.timeout_s"),
        ("browser: {tiemout_s: 3}", {}, "browser.tiemout_s"),
        ("memory: {clear_percent: 90}", {}, "memory.clear_percent"),
        ("browser: {slots: 2, adaptive: {minimum: 3}}", {}, "browser.adaptive.minimum"),
        ("performance: {priority_min: 1001}", {}, "performance.priority_min"),
        ("egress:", {}, "egress"),
        ("egress:", {"TIDEGATE_EGRESS_ALLOW": "10.0.0.0/8"}, "egress"),
        ("egress: all", {"TIDEGATE_EGRESS_ALLOW": "10.0.0.0/8"}, "egress"),
        ("memory: {limit_bytes: 1000}", {}, "browser.slot_memory_bytes"),
        ("pdf: {slot_memory_bytes: 2147483649}", {}, "pdf.slot_memory_bytes"),
        ("port: ${UNSET}", {}, "${UNSET}"),
        (RATE + "}]", {}, "limits[0].period_s"),
        (RATE + ", period_s: -1}]", {}, "limits[0].period_s"),
        ("limits: [{kind: quota, resource: r, units: 1}]", {}, "limits[0].period"),
        ("limits: [{kind: rate, resource: r, units: 1.5}]", {}, "limits[0].units"),
        ("- a list", {}, "a.yml"),
        ("a: [", {}, "a.yml"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, text: str, environ: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(tmp_path, text, **environ)
    assert caught.value.field.endswith(field)
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("quotas", "field"),
    [
        ({"requests_burst": 0}, "plans.basic.quotas.requests_burst"),
        ({"requests_per_second": 2**53}, "plans.basic.quotas.requests_per_second"),
        ({"requests": 5}, "plans.basic.quotas.requests"),
    ],
)
def test_a_wrong_quota_of_a_plan_is_named(quotas: dict[str, int], field: str) -> None:
    settings = Settings(plans={"basic": PlanSettings(quotas=quotas)})
    with pytest.raises(InvalidSetting) as caught:
        plans_of(settings)
    assert caught.value.field == field
    assert field in str(caught.value)


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(tmp_path, TIDEGATE_ADMIN_KEY="hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_broken_file_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(tmp_path, "admin_key: hunter2-hunter2-hunter2\n  port: [")
    assert "hunter2" not in str(caught.value)
    assert "line 2" in str(caught.value)


def test_the_data_folder_follows_xdg() -> None:
    assert default_data_dir({"XDG_DATA_HOME": "/x"}) == Path("/x/tidegate")
    assert default_data_dir({"HOME": "/h"}) == Path("/h/.local/share/tidegate")
