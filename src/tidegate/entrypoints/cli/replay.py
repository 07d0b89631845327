"""`tidegate replay`: who would have been refused under another policy, when and why."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click
import msgspec

from tidegate.bootstrap.replay import trial_of
from tidegate.entrypoints.cli import replay_output
from tidegate.entrypoints.cli.log_file import lines_of, open_log
from tidegate.errors import InvalidRequest
from tidegate.facades.replay.arrivals import Arrivals, arrivals
from tidegate.facades.replay.lines import FORMATS
from tidegate.facades.replay.recording import SORTED_LINES, InOrder, Recording
from tidegate.facades.replay.report import Refusal, instant
from tidegate.facades.replay.request import Request, Unsaid
from tidegate.facades.replay.trial import compare, run

Noted = Callable[[str, Refusal], None]


class _Amount(click.ParamType[tuple[str, int]]):
    """NAME=N."""

    name = "NAME=N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return the name and the number."""
        name, _, number = str(value).partition("=")
        if not name or not number.isascii() or not number.isdigit() or not 0 < int(number) < 2**53:
            self.fail(f"{value!r} is not NAME=N", param, ctx)
        return name, int(number)


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("log", required=False)
@click.option(
    "--compare",
    "other",
    metavar="POLICY2",
    type=click.Path(path_type=Path),
    help="Also try this one, and tell who is refused under only one of them.",
)
@click.option("--refused", "refused_path", metavar="FILE", help="Write each refusal as JSON line.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--top", type=click.IntRange(0), default=20, help="Tenants to print.")
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), help="Told by itself.")
@click.option("--tenant-from", metavar="FIELD", help="ip (web logs), user, or any other field.")
@click.option("--take", type=_Amount(), multiple=True, help="Where a line has no take or hold.")
@click.option("--hold", type=_Amount(), multiple=True, help="Where a line has no take or hold.")
@click.option("--held", "held_s", type=click.FloatRange(0, 1e9), help="Seconds a hold lasts.")
@click.option("--strict", is_flag=True, help="Stop at the first line that cannot be read.")
@click.option(
    "--sort",
    "spare",
    type=click.IntRange(0, 1_000_000),
    default=SORTED_LINES,
    help="Lines across which to put requests in order.",
)
@click.option("--synthetic", type=click.Choice(["poisson", "bursty"]), help="Instead of LOG.")
@click.option("--requests", type=click.IntRange(0), default=10_000, help="How many, synthetic.")
@click.option("--rate", "per_s", type=float, default=50.0, help="Each second, synthetic.")
@click.option("--tenants", type=int, default=20, help="How many, synthetic.")
@click.option("--zipf", "skew", type=float, default=1.0, help="How unequal tenants are, synthetic.")
@click.option("--seed", type=int, default=1, help="The same seed makes the same requests.")
def replay(policy: Path, log: str | None, **options: Any) -> None:
    """Run LOG through the limits of POLICY and report who would have been refused.

    POLICY is a YAML file with `limits:`. LOG holds JSON lines, CSV with a header, or what web
    servers write; `-` is the standard input, `.gz` and `.xz` are unpacked.
    """
    with ExitStack() as stack:
        source, recording = _source(stack, log, options)
        ordered = InOrder(source, spare=options["spare"])
        paths = [policy, *filter(None, [options["other"]])]
        trials = [trial_of(path, os.environ) for path in paths]
        noted = _writer(
            stack, options["refused_path"], [*map(str, paths), log or "-"], named=len(trials) > 1
        )
        comparison = None
        if len(trials) > 1:
            comparison = compare(ordered, (trials[0], trials[1]), noted)
        else:
            run(ordered, trials[0], noted)
    outcome = replay_output.Outcome(
        log=replay_output.log_report(recording, late=ordered.late),
        policies=[trial.report() for trial in trials],
        comparison=comparison,
    )
    shown = replay_output.as_json if options["as_json"] else replay_output.as_text
    click.echo(shown(outcome, top=options["top"]))


def _source(
    stack: ExitStack, log: str | None, options: dict[str, Any]
) -> tuple[Iterable[Request], Recording | None]:
    held_s = options["held_s"]
    unsaid = Unsaid(
        take=dict(options["take"]) or ({} if options["hold"] else {"requests": 1}),
        hold=dict(options["hold"]),
        held_us=None if held_s is None else round(held_s * 1e6),
        tenant_from=options["tenant_from"],
    )
    if (log is None) == (options["synthetic"] is None):
        raise click.UsageError("Give a LOG, or --synthetic, and not both.")
    if log is None:
        shape = Arrivals(
            pattern=options["synthetic"],
            requests=options["requests"],
            per_s=options["per_s"],
            tenants=options["tenants"],
            skew=options["skew"],
        )
        # Chance that can be had again is the point.
        return arrivals(shape, unsaid, random.Random(options["seed"]).random), None  # noqa: S311
    lines = stack.enter_context(closing(lines_of(stack.enter_context(open_log(log)), log)))
    recording = Recording(lines, unsaid, format_=options["format_"], strict=options["strict"])
    return recording, recording


def _writer(stack: ExitStack, path: str | None, read: list[str], *, named: bool) -> Noted:
    """Return what writes refusals; `named` puts the policy on each line."""
    if path is None:
        return _unwritten
    if any(_is_same(path, other) for other in read):
        raise InvalidRequest("refused", path, "a file that is not read at the same time")
    file = stack.enter_context(Path(path).open("wb"))  # noqa: SIM115
    encoder = msgspec.json.Encoder()

    def write(policy: str, refusal: Refusal) -> None:
        wait_us = refusal.retry_after_us
        line = {
            "at": instant(refusal.at_us),
            "tenant": refusal.tenant,
            "reason": refusal.reason,
            "limit": refusal.limit,
            "scope": refusal.scope,
            "remaining": refusal.remaining,
            "retry_after_s": None if wait_us is None else wait_us / 1e6,
        }
        if refusal.why:
            line["why"] = refusal.why
        if named:
            line["policy"] = policy
        file.write(encoder.encode(line) + b"\n")

    return write


def _unwritten(policy: str, refusal: Refusal) -> None:
    """Nobody asked for them."""


def _is_same(path: str, other: str) -> bool:
    return Path(path).exists() and Path(other).exists() and Path(path).samefile(other)
