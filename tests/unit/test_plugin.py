"""The plugin that skips, fails or refuses tests by the components they need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.components import PROBES

TESTS = """
    import os, pytest

    @pytest.mark.needs("here")
    def test_runs(): pass

    @pytest.mark.needs("here", "absent")
    def test_lacks_one(): raise AssertionError("must not run")

    @pytest.mark.needs("absent")
    class TestClass:
        @pytest.mark.parametrize("number", [1, 2])
        def test_lacks_class_need(self, number): raise AssertionError("must not run")

    def test_sees_no_settings():
        names = [name for name in os.environ if name.startswith("TIDEGATE_")]
        assert names == [name for name in ["TIDEGATE_PURE"] if name in names]
        assert "HTTP_PROXY" not in os.environ
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Tests over two made-up components, one of which exists."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setitem(PROBES, "here", lambda: True)
    monkeypatch.setitem(PROBES, "absent", lambda: False)
    pytester.makeini("[pytest]\naddopts = --strict-markers -p tests.plugin")
    pytester.makepyfile(TESTS)
    return pytester


def tolerate(suite: pytest.Pytester, text: str) -> Path:
    return suite.makefile(".txt", may_be_missing=text)


def test_a_missing_component_skips_and_is_counted_and_named(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess("--missing-report=missing.txt", "-rs")
    result.assert_outcomes(passed=2, skipped=3)
    result.stdout.fnmatch_lines(
        ["*could not run for want of a component*", "absent: 3", "*missing component: absent*"]
    )
    written = (suite.path / "missing.txt").read_text()
    assert written.splitlines() == [
        "Tests that could not run for want of a component:",
        "absent: 3",
        "  test_a_missing_component_skips_and_is_counted_and_named.py::test_lacks_one",
        *(
            "  test_a_missing_component_skips_and_is_counted_and_named.py"
            f"::TestClass::test_lacks_class_need[{number}]"
            for number in (1, 2)
        ),
    ]


def test_nothing_missing_is_said_too(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess("--missing-report=missing.txt", "-k", "test_runs")
    result.assert_outcomes(passed=1, deselected=4)
    result.stdout.no_fnmatch_line("*want of a component*")
    assert (suite.path / "missing.txt").read_text() == (
        "No test could not run for want of a component.\n"
    )


def test_on_ci_it_fails(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    suite.runpytest_inprocess().assert_outcomes(passed=2, errors=3)


def test_on_ci_a_tolerated_component_skips(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    path = tolerate(suite, "# why\nabsent nobody has it")
    result = suite.runpytest_inprocess(f"--may-be-missing={path}")
    result.assert_outcomes(passed=2, skipped=3)
    result.stdout.fnmatch_lines(["absent: 3 (nobody has it)"])


@pytest.mark.parametrize("line", ["absent", "absent ", "unheard_of some reason"])
def test_tolerating_takes_a_known_component_and_a_reason(suite: pytest.Pytester, line: str) -> None:
    result = suite.runpytest_inprocess(f"--may-be-missing={tolerate(suite, line + chr(10))}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_an_unknown_component_stops_the_session(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_typo="import pytest\n@pytest.mark.needs('cromium')\ndef test_it(): pass")
    result = suite.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_typo.py::test_it needs 'cromium'"])


def test_settings_of_the_caller_do_not_reach_a_test(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_PORT", "1")
    monkeypatch.setenv("HTTP_PROXY", "somewhere")
    suite.runpytest_inprocess("-k", "test_sees_no_settings").assert_outcomes(passed=1, deselected=4)


def test_every_probe_answers_and_leaves_nothing_behind() -> None:
    before = mounts()
    answers = {name: probe() for name, probe in PROBES.items()}
    assert all(type(answer) is bool for answer in answers.values()), answers
    assert mounts() == before


def mounts() -> str:
    table = Path("/proc/mounts")
    return table.read_text() if table.exists() else ""
