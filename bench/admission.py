"""The admission engine against its peers: one table, every figure held against what it must be.

Ours and the peers take turns in one run, so compare ratios, not figures of different runs. A bar
`>= n x` is on how many times as fast as the peer ours is, `<= n x` on how many times its cost;
other units are the figure itself. Rows in memory are CPU time, rows on stores the clock on the
wall, with CPU beside it (of the clients + of the server). What is not built has no figure.

Run: python bench/admission.py [--quick] [--only rate,redis] [--json FILE] [--strict]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

# Tests keep the real servers that the store rows need.
sys.path.insert(1, str(Path(__file__).parents[1]))

from admitting import (
    exactness,
    floor,
    footprint,
    machine,
    one_rate,
    postgres_rates,
    redis_rates,
    refusal,
    store_calls,
    tasks,
    threads,
    whole_claim,
)
from admitting.effort import FULL, QUICK, Effort
from admitting.servers import Servers
from admitting.table import Bar, NotMeasured, Row, missed, summary, table

Measure = Callable[[Effort, Servers], list[Row]]


def in_memory(measure: Callable[[Effort], list[Row]]) -> Measure:
    return lambda effort, _servers: measure(effort)


GROUPS: dict[str, Measure] = {
    one_rate.GROUP: in_memory(one_rate.measure),
    whole_claim.GROUP: in_memory(whole_claim.measure),
    refusal.GROUP: refusal.measure,
    threads.GROUP: in_memory(threads.measure),
    tasks.GROUP: in_memory(tasks.measure),
    footprint.GROUP: in_memory(footprint.measure),
    redis_rates.GROUP: redis_rates.measure,
    redis_rates.LEASED_GROUP: redis_rates.measure_leased,
    postgres_rates.GROUP: postgres_rates.measure,
    exactness.GROUP: exactness.measure,
    store_calls.GROUP: store_calls.measure,
}


def chosen(text: str) -> list[str]:
    """Read `--only`: names of groups, or their numbers from 1."""
    known = {str(number): name for number, name in enumerate(GROUPS, 1)}
    known |= {name: name for name in GROUPS}
    words = [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return list(dict.fromkeys(known[word] for word in words))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds, to see that every row works")
    parser.add_argument("--only", type=chosen, default=list(GROUPS), metavar="NAME,...")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--strict", action="store_true", help="fail if a bar was missed")
    given = "a scratch server of your own instead of a throw-away one"
    parser.add_argument("--redis", default="", metavar="URL", help=given)
    parser.add_argument("--postgres", default="", metavar="URL", help=given)
    return parser.parse_args()


def measured(name: str, effort: Effort, servers: Servers) -> tuple[list[Row], bool]:
    """Return the rows of one group, and whether it worked; a fault ends this group alone."""
    try:
        return GROUPS[name](effort, servers), True
    except NotMeasured as why:
        return [Row(group=name, what="all of it", ours=str(why), bar=Bar())], True
    except Exception as fault:
        traceback.print_exc()
        text = f"failed: {type(fault).__name__}: {fault}".splitlines()[0][:100]
        return [Row(group=name, what="all of it", ours=text, bar=Bar())], False


def main() -> None:
    # An ended run still ends the servers it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = arguments()
    effort = QUICK if options.quick else FULL
    facts, rows, sound = machine.facts(), [], True
    print(machine.header(facts, "quick (rough figures)" if options.quick else "full"), flush=True)
    with Servers(redis_url=options.redis, postgres_url=options.postgres) as servers:
        for name in options.only:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            found, worked = measured(name, effort, servers)
            rows += found
            sound = sound and worked
    steps_ns = floor.measure(effort)
    print(f"\n{table(rows)}\n\n{floor.text(steps_ns)}\n\n{machine.footer()}\n{summary(rows)}")
    if options.json:
        facts |= {"quick": options.quick, "load_after": os.getloadavg(), "floor_ns": steps_ns}
        text = json.dumps({**facts, "rows": [row.as_dict() for row in rows]}, indent=2)
        options.json.write_text(f"{text}\n", "utf-8")
    if not sound or (options.strict and missed(rows)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
