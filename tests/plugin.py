"""Tests say what they need; what is missing is counted and named, never passed over in silence.

`@pytest.mark.needs("chromium")` skips a test where the machine has no Chromium. Under CI=true such
a test fails, unless `may_be_missing.txt` names the component with a reason. The settings of the
person who runs the tests are taken out of the environment, so that they change no result.

Loaded by `tests/conftest.py`, so that plain `pytest` has it too.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from tests.components import PROBES

HERE = Path(__file__).parent
TITLE = "could not run for want of a component"
FORM = "TIDEGATE_PURE"
"""Says whether the Python files are tested or what is compiled of them: no setting of a test."""
SETTINGS = ("TIDEGATE_", "PERSISTENCE_", "REDIS_URL")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

MISSED = pytest.StashKey[dict[str, list[str]]]()
"""Component to the tests that lacked it."""
TOLERATED = pytest.StashKey[dict[str, str]]()
"""Component to the reason why CI may lack it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--missing-report",
        metavar="FILE",
        help=f"also write there which tests {TITLE}",
    )
    parser.addoption(
        "--may-be-missing",
        metavar="FILE",
        default=str(HERE / "may_be_missing.txt"),
        help="components that a CI machine may lack, each with a reason",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(component, ...): runs only where all of them are")
    config.stash[MISSED] = {}
    config.stash[TOLERATED] = _read_tolerated(Path(config.getoption("--may-be-missing")))
    for name in list(os.environ):
        if name != FORM and (name.startswith(SETTINGS) or name.lower() in PROXIES):
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    unknown = {
        f"{item.nodeid} needs {component!r}"
        for item in items
        for component in _needs(item)
        if component not in PROBES
    }
    if unknown:
        known = ", ".join(sorted(PROBES))
        raise pytest.UsageError(*sorted(unknown), f"known components: {known}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [component for component in _needs(item) if not _is_here(component)]
    for component in missing:
        item.config.stash[MISSED].setdefault(component, []).append(item.nodeid)
    if not missing:
        return
    reason = f"missing component: {', '.join(missing)}"
    tolerated = item.config.stash[TOLERATED]
    required = [component for component in missing if component not in tolerated]
    if os.environ.get("CI", "").lower() in {"1", "true"} and required:
        pytest.fail(f"{reason}; on CI it must be there", pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lines = _report(config)
    if lines:
        terminalreporter.section(TITLE)
        terminalreporter.write("".join(f"{line}\n" for line in lines))
    path = config.getoption("--missing-report")
    if path:
        heading = f"Tests that {TITLE}:" if lines else f"No test {TITLE}."
        Path(path).write_text("".join(f"{line}\n" for line in (heading, *lines)), "utf-8")


def _needs(item: pytest.Item) -> list[str]:
    return [component for mark in item.iter_markers("needs") for component in mark.args]


@functools.cache
def _is_here(component: str) -> bool:
    return PROBES[component]()


def _report(config: pytest.Config) -> list[str]:
    lines = []
    for component, tests in sorted(config.stash[MISSED].items()):
        reason = config.stash[TOLERATED].get(component, "")
        lines.append(f"{component}: {len(tests)}" + (f" ({reason})" if reason else ""))
        lines.extend(f"  {nodeid}" for nodeid in tests)
    return lines


def _read_tolerated(path: Path) -> dict[str, str]:
    tolerated = {}
    for line in path.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        component, _, reason = line.partition(" ")
        if component not in PROBES or not reason.strip():
            raise pytest.UsageError(f"{path}: {line!r} is no known component with a reason")
        tolerated[component] = reason.strip()
    return tolerated
