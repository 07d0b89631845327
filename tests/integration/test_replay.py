"""`tidegate replay` as a person meets it: the guide's examples, files of all kinds, mistakes."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.integration.serving import TRACEBACK, environment, tidegate
from tidegate import Claim
from tidegate.bootstrap.replay import trial_of
from tidegate.errors import InvalidSetting, TidegateError
from tidegate.facades.replay.request import Request
from tidegate.facades.replay.trial import Trial

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "replay.md").read_text("utf-8")
BLOCKS = re.findall(r"^    \$ tidegate (replay .+)\n((?:(?:    .*)?\n)*)", GUIDE, re.MULTILINE)
POLICY = "limits: [{kind: rate, resource: requests, units: 1, period_s: 1, per: [tenant]}]\n"
TWO_A_SECOND = [b'{"at": 1, "tenant": "acme"}\n', b'{"at": 1.5, "tenant": "acme"}\n']


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.yml").write_text(POLICY)
    (tmp_path / "log.jsonl").write_bytes(b"".join(TWO_A_SECOND))
    return tmp_path


def replay(folder: Path, *arguments: str, stdin: str = "") -> CompletedProcess[str]:
    return tidegate("replay", *arguments, env=environment(folder), stdin=stdin, cwd=folder)


def report(folder: Path, *arguments: str, stdin: str = "") -> dict[str, Any]:
    done = replay(folder, *arguments, "--json", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_guide_shows_what_is_printed(tmp_path: Path) -> None:
    assert len(BLOCKS) == 3
    for command, below in BLOCKS:
        done = tidegate(*shlex.split(command), env=environment(tmp_path), cwd=ROOT)
        assert done.returncode == 0, done.stderr
        shown = re.sub(r"^    ", "", below, flags=re.MULTILINE).strip("\n")
        # Of the second, the guide shows the end alone.
        assert done.stdout.endswith(shown.removeprefix("...") + "\n"), command
        assert not shown or shown.startswith("...") or len(done.stdout) == len(shown) + 1
    written = re.findall(r"^    (\{.*\})$", GUIDE, re.MULTILINE)
    refused = tmp_path / "refused.jsonl"
    examples = [f"docs/examples/replay{end}" for end in ("-policy.yml", ".jsonl")]
    tidegate("replay", *examples, "--refused", str(refused), env=environment(tmp_path), cwd=ROOT)
    assert refused.read_text().splitlines() == written


@pytest.mark.parametrize("kind", ["plain", "gz", "xz", "stdin"])
def test_files_of_all_kinds(folder: Path, kind: str) -> None:
    data = b"".join(TWO_A_SECOND)
    (folder / "log.gz").write_bytes(gzip.compress(data))
    (folder / "log.xz").write_bytes(lzma.compress(data))
    name = {"plain": "log.jsonl", "stdin": "-"}.get(kind, f"log.{kind}")
    stdin = data.decode() if kind == "stdin" else ""
    found = report(folder, "policy.yml", name, stdin=stdin)
    assert found["log"] | {"first_broken": []} == {
        "lines": 2,
        "broken": 0,
        "first_broken": [],
        "late": 0,
        "ignored_fields": [],
    }
    (policy,) = found["policies"]
    assert (policy["requests"], policy["refused"]) == (2, 1)
    assert policy["tenants"][0] == {
        "tenant": "acme",
        "requests": 2,
        "refused": 1,
        "share": 0.5,
        "first_refused": "1970-01-01T00:00:01.500000Z",
        "last_refused": "1970-01-01T00:00:01.500000Z",
        "worst_limit": "requests",
    }


@pytest.mark.parametrize("ending", ["gz", "xz"])
def test_a_packed_file_that_ends_too_early(folder: Path, ending: str) -> None:
    pack: Callable[[bytes], bytes] = gzip.compress if ending == "gz" else lzma.compress
    lines = [json.dumps({"at": n, "tenant": f"t{n * n * 7919}"}).encode() for n in range(20_000)]
    (folder / f"log.{ending}").write_bytes(pack(b"\n".join(lines))[:-50])
    found = report(folder, "policy.yml", f"log.{ending}")
    assert 0 < found["policies"][0]["requests"] <= 20_000
    assert found["log"]["broken"] >= 1
    assert "a whole packed file" in found["log"]["first_broken"][-1]["why"]


def test_broken_lines_long_lines_and_strange_tenants_are_shown_harmlessly(folder: Path) -> None:
    lines = [
        *TWO_A_SECOND,
        b"{broken\n",
        b"x" * 200_000 + b"\n",
        b'{"at": 2, "tenant": "\\u001b[2J"}\n',
    ]
    (folder / "log.jsonl").write_bytes(b"".join(lines))
    done = replay(folder, "policy.yml", "log.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 lines, 2 broken, 0 out of order\n  line 3: JSON is malformed")
    assert "\n  line 4: longer than 65536 bytes\n" in done.stdout
    assert "\x1b" not in done.stdout
    strict = replay(folder, "policy.yml", "log.jsonl", "--strict")
    assert (strict.returncode, strict.stdout) == (2, "")
    assert strict.stderr.startswith("tidegate: line 3=")


def test_comparing_and_writing_each_refusal(folder: Path) -> None:
    (folder / "lax.yml").write_text(POLICY.replace("units: 1", "units: 2"))
    arguments = ("policy.yml", "log.jsonl", "--compare", "lax.yml", "--refused", "refused.jsonl")
    found = report(folder, *arguments)
    assert found["comparison"] == {
        "only_first": 1,
        "only_second": 0,
        "both": 0,
        "tenants": [{"tenant": "acme", "only_first": 1, "only_second": 0, "both": 0}],
    }
    (line,) = (folder / "refused.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "at": "1970-01-01T00:00:01.500000Z",
        "tenant": "acme",
        "reason": "rate_limited",
        "limit": "requests",
        "scope": ["acme"],
        "remaining": 0,
        "retry_after_s": 0.5,
        "policy": "policy.yml",
    }


def test_the_same_seed_prints_the_same(folder: Path) -> None:
    arguments = ("policy.yml", "--synthetic", "bursty", "--requests", "500", "--tenants", "3")
    first, same, other = (replay(folder, *arguments, "--seed", seed) for seed in "112")
    assert (first.returncode, first.stdout) == (0, same.stdout)
    assert first.stdout != other.stdout
    assert "requests  500\n" in first.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["policy.yml"], 2, "Give a LOG, or --synthetic"),
        (["policy.yml", "log.jsonl", "--synthetic", "poisson"], 2, "Give a LOG, or --synthetic"),
        (["policy.yml", "log.jsonl", "--take", "x"], 2, "NAME=N"),
        (["policy.yml", "log.jsonl", "--hold", "x=1"], 2, "how many seconds a hold lasts"),
        (["policy.yml", "log.jsonl", "--format", "access", "--tenant-from", "x"], 2, "tenant-from"),
        (["policy.yml", "nowhere.jsonl"], 1, "nowhere.jsonl: No such file"),
        (["nowhere.yml", "log.jsonl"], 2, "nowhere.yml"),
        (["policy.yml", "."], 1, "Is a directory"),
        (["policy.yml", "policy.yml"], 2, "common or combined log format"),
        (["policy.yml", "log.jsonl", "--refused", "log.jsonl"], 2, "refused='log.jsonl'"),
        (["policy.yml", "log.jsonl", "--refused", "no/where"], 1, "no/where"),
        (["policy.yml", "--synthetic", "poisson", "--rate", "0"], 2, "rate="),
    ],
)
def test_mistakes_are_said_in_a_sentence(
    folder: Path, arguments: list[str], status: int, said: str
) -> None:
    ended = replay(folder, *arguments)
    assert said in ended.stderr, ended.stderr
    assert (ended.returncode, ended.stdout) == (status, "")
    assert TRACEBACK not in ended.stderr
    assert (folder / "log.jsonl").read_bytes() == b"".join(TWO_A_SECOND)


def trial(folder: Path, text: str, **environ: str) -> Trial:
    (folder / "policy.yml").write_text(text)
    return trial_of(folder / "policy.yml", environ)


def granted_at_once(trial_: Trial, tenant: str, resource: str = "requests") -> int:
    """How many requests of a tenant pass at one moment."""
    claim = Claim(tenant=tenant, take={resource: 1}, host="example.com")
    count = 0
    while trial_.decide(Request(at_us=10**15, claim=claim)) is None:
        count += 1
    return count


def test_a_policy_with_plans_has_the_limits_of_the_service(tmp_path: Path) -> None:
    found = trial(
        tmp_path,
        "plans: {free: {quotas: {requests_burst: 7}}}\n"
        "tenants:\n  acme: {plan: pro}\n  b: {quotas: {requests_burst: '${BURST}'}}\n"
        "overrides: {acme: {host_requests: {units: 1, burst: 2}}}\n",
        BURST="3",
    )
    assert [granted_at_once(found, tenant) for tenant in ("acme", "b", "other")] == [400, 3, 7]
    assert granted_at_once(found, "acme", "host_requests") == 2
    assert granted_at_once(found, "b", "host_requests") == 3


def test_overrides_of_own_limits(tmp_path: Path) -> None:
    quota = "{kind: quota, resource: tokens, units: 1, period: day, per: [tenant]}"
    found = trial(
        tmp_path,
        POLICY.replace("]}]", f"]}}, {quota}]")
        + "overrides: {acme: {requests: {units: 4}}, b: {tokens: {units: null}}}\n",
    )
    assert [granted_at_once(found, tenant) for tenant in ("acme", "b")] == [4, 1]
    assert granted_at_once(found, "acme", "tokens") == 1
    claim = Claim(tenant="b", take={"tokens": 10**9})
    assert found.decide(Request(at_us=10**15, claim=claim)) is None


def test_limits_per_cohort(tmp_path: Path) -> None:
    quota = "{kind: quota, resource: tokens, units: 3, period: day, per: [cohort]}"
    found = trial(
        tmp_path, POLICY.replace("]}]", f"]}}, {quota}]") + "cohorts: {gold: [acme, globex]}\n"
    )
    spent = [granted_at_once(found, tenant, "tokens") for tenant in ("acme", "globex", "other")]
    assert spent == [3, 0, 3]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "limits"),
        ("port: 80\n", "limits"),
        ("limit: []\n", "limit"),
        ("limits: [{kind: rate, resource: r, units: 0, period_s: 1}]\n", "limits[0].units"),
        ("limits: [{kind: rate, resource: r, units: 1}]\n", "limits[0].period_s"),
        (POLICY + "overrides: {acme: {x: {units: 1}}}\n", "overrides.acme.x"),
        (POLICY + "overrides: {acme: {requests: {units: 0}}}\n", "overrides"),
        (POLICY + "overrides: {acme: {requests: {unit: 1}}}\n", "overrides"),
        (POLICY + "overrides: [1]\n", "overrides"),
        ("tenants: {acme: {plan: gold}}\n", "tenants.acme.plan"),
        ("tenants: {acme: {quotas: {requests: 1}}}\n", "tenants.acme.quotas.requests"),
        (POLICY.replace("]}]", "]}, {kind: capacity, resource: requests, units: 1}]"), "limits"),
        ("- 1\n", "policy.yml"),
        ("a: [\n", "policy.yml"),
        (POLICY + "host: ${NOT_SET}\n", "${NOT_SET}"),
    ],
)
def test_policies_that_cannot_be(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(TidegateError) as caught:
        trial(tmp_path, text)
    assert isinstance(caught.value, InvalidSetting)
    assert field in caught.value.field
