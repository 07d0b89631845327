"""What `tidegate replay` prints: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from tidegate.facades.replay.recording import BrokenLine, Recording
from tidegate.facades.replay.report import Comparison, Difference, Report


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """What could be read of the log. `late` requests were decided where they stood."""

    lines: int
    broken: int
    first_broken: list[BrokenLine]
    late: int
    ignored_fields: list[str]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One or two policies, and how they differ. `log` is None for synthetic requests."""

    log: LogReport | None
    policies: list[Report]
    comparison: Comparison | None


class _Differences(msgspec.Struct, frozen=True, kw_only=True):
    only_first: int
    only_second: int
    both: int
    tenants: list[Difference]


def log_report(recording: Recording | None, *, late: int) -> LogReport | None:
    """Return what became of the lines."""
    if recording is None:
        return None
    return LogReport(
        lines=recording.read,
        broken=recording.broken,
        first_broken=recording.first_broken,
        late=late,
        ignored_fields=recording.ignored,
    )


def as_json(outcome: Outcome, *, top: int) -> str:  # noqa: ARG001
    """Return everything, every tenant included."""
    tree: dict[str, object] = {"log": outcome.log, "policies": outcome.policies}
    if outcome.comparison is not None:
        total = outcome.comparison.total
        tree["comparison"] = _Differences(
            only_first=total.only_first,
            only_second=total.only_second,
            both=total.both,
            tenants=outcome.comparison.tenants(),
        )
    return msgspec.json.format(msgspec.json.encode(tree)).decode()


def as_text(outcome: Outcome, *, top: int) -> str:
    """Return tables; of tenants those `top` that were refused most."""
    lines = [] if outcome.log is None else list(_log(outcome.log))
    for report in outcome.policies:
        lines += ["", *_policy(report, top)] if lines else [*_policy(report, top)]
    if outcome.comparison is not None:
        names = [report.policy for report in outcome.policies]
        lines += ["", *_comparison(outcome.comparison, names, top)]
    return "\n".join(lines)


def _log(log: LogReport) -> Iterator[str]:
    yield f"{log.lines} lines, {log.broken} broken, {log.late} out of order"
    for broken in log.first_broken:
        yield f"  line {broken.line}: {_clean(broken.why)}"
    if log.broken > len(log.first_broken):
        yield f"  ... and {log.broken - len(log.first_broken)} more"
    if log.ignored_fields:
        yield f"fields without a meaning here: {_clean(', '.join(log.ignored_fields))}"


def _policy(report: Report, top: int) -> Iterator[str]:
    yield f"policy {_clean(report.policy)}"
    yield f"  requests  {report.requests}"
    yield f"  refused   {report.refused} ({report.share:.2%})"
    if report.first is not None and report.last is not None:
        yield f"  from      {_at(report.first)} to {_at(report.last)}"
    minute = report.busiest_minute
    if minute is not None:
        yield (
            f"  busiest   {minute.requests} requests and {minute.refused} refusals in the minute"
            f" from {_at(minute.start)}"
        )
    for name, count in report.unlimited.items():
        yield f"  no limit  on {_clean(name)}: {count} requests named it"
    if report.refused:
        yield ""
        reasons = [(name, str(count)) for name, count in report.reasons.items()]
        yield from _table(("reason", "refused"), reasons)
        yield ""
        limits = [(row.limit, str(row.refused), str(row.tenants)) for row in report.limits]
        yield from _table(("limit", "refused", "tenants"), limits)
    yield ""
    yield from _tenants(report, top)


def _tenants(report: Report, top: int) -> Iterator[str]:
    head = (
        "tenant",
        "requests",
        "refused",
        "share",
        "first refused",
        "last refused",
        "worst limit",
    )
    rows = [
        (
            row.tenant,
            str(row.requests),
            str(row.refused),
            f"{row.share:.2%}",
            _at(row.first_refused),
            _at(row.last_refused),
            row.worst_limit or "-",
        )
        for row in report.tenants[:top]
    ]
    yield from _table(head, rows)
    if len(report.tenants) > top:
        yield f"  ... and {len(report.tenants) - top} more tenants"


def _comparison(comparison: Comparison, names: Sequence[str], top: int) -> Iterator[str]:
    total, tenants = comparison.total, comparison.tenants()
    yield "difference"
    yield f"  refused only under {_clean(names[0])}: {total.only_first}"
    yield f"  refused only under {_clean(names[1])}: {total.only_second}"
    yield f"  refused under both: {total.both}"
    if tenants:
        yield ""
        rows = [
            (row.tenant, str(row.only_first), str(row.only_second), str(row.both))
            for row in tenants[:top]
        ]
        yield from _table(("tenant", "only the first", "only the second", "both"), rows)
        if len(tenants) > top:
            yield f"  ... and {len(tenants) - top} more tenants"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    shown = [head, *([_clean(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield ("  " + "  ".join(cells)).rstrip()


def _at(instant: datetime | None) -> str:
    if instant is None:
        return "-"
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _clean(text: str) -> str:
    """Return a text from a log that cannot move the cursor or fill the screen."""
    short = text if len(text) <= 80 else f"{text[:77]}..."
    return "".join(char if char.isprintable() else "?" for char in short)
