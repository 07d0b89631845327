"""The list of capabilities and the list of decisions are complete and point at real files."""

from __future__ import annotations

import re

import pytest

from tests.architecture.tree import ROOT, assert_none

CAPABILITIES = ROOT / "docs" / "capabilities.md"
DECISIONS = ROOT / "docs" / "decisions"
COLUMNS = ["number", "capability", "where", "shown by", "tested by", "state"]
STATES = {"done", "part", "not yet"}
ROWS = {"RipTide": 92, "Blixard": 59}


def tables() -> dict[str, list[dict[str, str]]]:
    """Rows by the heading they stand under."""
    found: dict[str, list[dict[str, str]]] = {}
    heading = ""
    for line in CAPABILITIES.read_text("utf-8").splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ").split()[-1]
        elif line.startswith("|") and not set(line) <= set("|-: "):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if cells == COLUMNS:
                found[heading] = []
            else:
                found[heading].append(dict(zip(COLUMNS, cells, strict=True)))
    return found


def rows() -> list[dict[str, str]]:
    return [row for table in tables().values() for row in table]


@pytest.mark.parametrize(("heading", "count"), ROWS.items())
def test_every_number_is_there_once(heading: str, count: int) -> None:
    numbers = [int(row["number"]) for row in tables()[heading]]
    assert numbers == list(range(1, count + 1))


def test_states_are_known_and_what_is_done_is_tested() -> None:
    assert {row["state"] for row in rows()} <= STATES
    untested = [
        row["number"] for row in rows() if row["state"] == "done" and "`" not in row["tested by"]
    ]
    assert_none(untested)


def test_every_named_test_file_exists() -> None:
    named = {path for row in rows() for path in re.findall(r"`([^`]+)`", row["tested by"])}
    assert_none([path for path in sorted(named) if not (ROOT / path).exists()])


def test_every_decision_is_in_the_index() -> None:
    pages = sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    index = (DECISIONS / "README.md").read_text("utf-8")
    assert re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", index) == pages
    for page in pages:
        text = (DECISIONS / page).read_text("utf-8")
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], page
