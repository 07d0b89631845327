"""Words and names that have no place in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, assert_none, tracked

DRAWERS = {"base.py", "common.py", "helpers.py", "manager.py", "misc.py", "utils.py"}
"""File names that say nothing about what is inside."""

# Put together here, so that this file does not hold the words it looks for.
UNFINISHED = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b"
)
REGISTRY = re.compile("|".join([r"pypi\." + "org", "python" + "hosted", r"npmjs\." + "(org|com)"]))
HOME = re.compile(r"(?<![\w.:*}>)/-])/(home|Users|root|work|mnt)/[\w.]")
SKIPS = re.compile(r"pytest\.(skip|importorskip|mark\.skip|mark\.skipif|mark\.xfail)\b")


def text_of(path: Path) -> str:
    """Return the text, or nothing for a binary file."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def hits(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in paths
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if (match := pattern.search(line))
    ]


def test_no_file_is_an_unlabelled_drawer() -> None:
    assert_none([str(path.relative_to(ROOT)) for path in tracked() if path.name in DRAWERS])


@pytest.mark.parametrize(
    "pattern", [UNFINISHED, REGISTRY, HOME], ids=["unfinished", "hosts", "home"]
)
def test_no_tracked_file_holds(pattern: re.Pattern[str]) -> None:
    assert_none(hits(pattern, list(tracked())))


def test_tests_skip_only_by_naming_a_component() -> None:
    tests = [
        path for path in tracked() if path.is_relative_to(ROOT / "tests") and path.suffix == ".py"
    ]
    tests.remove(ROOT / "tests" / "plugin.py")
    assert_none(hits(SKIPS, tests))


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        (UNFINISHED, "# TO" + "DO later", True),
        (UNFINISHED, "mastodon", False),
        (REGISTRY, "--index-url https://pypi." + "org/simple", True),
        (HOME, "see /ho" + "me/someone/file", True),
        (HOME, '"/ro' + 'ot/x"', True),
        (HOME, "GET https://example.com/home/page", False),
        (SKIPS, "pytest.sk" + "ip('no')", True),
    ],
)
def test_the_patterns_find_what_they_should(
    pattern: re.Pattern[str], line: str, found: bool
) -> None:
    assert bool(pattern.search(line)) == found
