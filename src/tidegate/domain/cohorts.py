"""Which tenants belong together: they lend each other, and limits per cohort count them as one.

Only the operator says so, never a claim: whoever could choose would choose where most is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidegate.errors import InvalidLimit

DEFAULT_COHORT = "default"
"""Where limits per cohort count tenants that are in none."""


def cohort_by_member(cohorts: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the cohort of each member. Raises InvalidLimit: naming the cohort."""
    found: dict[str, str] = {}
    for name, members in cohorts.items():
        for member in members:
            if not member or not name:
                raise InvalidLimit(f"cohorts.{name}", member, "names that are not empty")
            if found.setdefault(member, name) != name:
                raise InvalidLimit(f"cohorts.{name}", member, "a tenant of no other cohort")
    return found
