"""What the pages say is so: blocks run, tables agree with the code, links lead somewhere."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults

import httpx
import msgspec
import pytest
import yaml
from starlette.routing import Route

from tidegate.config import Settings, load_settings, reading
from tidegate.domain.plan import DEFAULT_PLANS
from tidegate.domain.rate_limit_fields import STATUS
from tidegate.entrypoints.http import admin, claims, limits, operations, problems, workloads
from tidegate.errors import TidegateError
from tidegate.facades.metrics import FAMILIES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
HTTP = Path(problems.__file__).parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n((?:    [^\n]*\n)+))?", re.MULTILINE | re.DOTALL)
PROGRAM = [sys.executable, "-c", "from tidegate.entrypoints.cli import main; main()"]
DEADLINE_S = 60

OF_HTTP = {
    "unreadable": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "too_large": 413,
    "unsupported_media_type": 415,
    "internal_error": 500,
}
"""Codes of what is refused before any rule is asked, or is a fault of ours."""


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of every table row under a heading, without the head of the table."""
    section = re.split(r"^## ", (DOCS / page).read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"{heading}\n")]
    cells = [
        [cell.strip() for cell in line.strip("|").split(" |")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    assert cells, f"{page} has no table under {heading}"
    return cells


def name_of(cell: str) -> str:
    found = re.match(r"`([^`]*)`", cell)
    assert found, cell
    return found[1]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/quickstart.md", "docs/concepts.md", "docs/guides/adaptive.md"]
)
def test_python_blocks_run_and_print_what_stands_below(page: str) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text("utf-8"))
    assert blocks
    names: dict[str, Any] = {}
    for code, below in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        if below:
            assert printed.getvalue() == re.sub("^    ", "", below, flags=re.MULTILINE)
    names["gate"].close()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            known = {
                re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings
            }
            assert anchor in known, target


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.anyio
async def test_the_fastapi_example_grants_some_and_refuses_the_rest() -> None:
    app = load_example("fastapi_app").app
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://example"
    ) as client:
        calls = [client.get("/report", headers={"X-Tenant": "acme"}) for _ in range(30)]
        answers = await asyncio.gather(*calls)
        assert (await client.get("/report")).status_code == 422
    granted = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(granted) >= 5
    assert len({each["lease"] for each in granted}) == len(granted)
    assert len(refused) == 30 - len(granted) > 0
    assert {answer.json()["limit"] for answer in refused} == {"requests"}
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}


def test_the_wsgi_example_grants_some_and_refuses_the_rest() -> None:
    example = load_example("wsgi_app")
    seen: list[str] = []
    for _ in range(30):
        environ: dict[str, Any] = {"HTTP_X_TENANT": "acme"}
        setup_testing_defaults(environ)
        body = b"".join(example.app(environ, lambda status, headers: seen.append(status)))
        assert body == b"hello at /\n" or b'"limit": "requests"' in body
    example.gate.close()
    assert seen[:5] == ["200 OK"] * 5
    assert "429 Too Many Requests" in seen


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """`tidegate serve` with the example's settings: its address, and the environment it has."""
    environ = {
        **os.environ,
        "TIDEGATE_CONFIG": str(EXAMPLES / "tidegate.yml"),
        "TIDEGATE_DATA_DIR": str(tmp_path),
        "TIDEGATE_PORT": "0",
    }
    with subprocess.Popen(
        [*PROGRAM, "serve"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            found = re.search(r"http://[\d.]+:\d+", greeting)
            assert found, greeting
            yield found[0], environ
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE_S)


def run(*command: str, environ: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_worker_example_claims_works_and_gives_back(
    service: tuple[str, dict[str, str]],
) -> None:
    address, environ = service
    key = run(*PROGRAM, "tenant", "create", "Acme", environ=environ).split()[-1]
    out = run(sys.executable, str(EXAMPLES / "worker.py"), address, key, environ=environ)
    assert out == "done\n"
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/leases").json() == {"leases": []}
        text = (DOCS / "quickstart.md").read_text("utf-8")
        body = re.search(r"-d '(\{.*?\})'", text)
        assert body
        answer = client.post(
            "/v1/claims", content=body[1], headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 201
    assert answer.json()["granted"]["hold"] == {"gpu_slots": 1}


def test_the_example_settings_are_taken_as_they_stand() -> None:
    environ = {"TIDEGATE_CONFIG": str(EXAMPLES / "tidegate.yml"), "PORT": "9000"}
    settings = load_settings(environ, folder=EXAMPLES)
    tree = yaml.safe_load((EXAMPLES / "tidegate.yml").read_text("utf-8"))
    assert set(tree) <= {field.name for field in msgspec.structs.fields(Settings)}
    assert settings.port == 9000
    assert settings.egress.allow == tuple(tree["egress"]["allow"])
    assert [limit.name for limit in settings.own_limits()] == [
        "gpu_slots",
        "gpu_slots_per_tenant",
        "llm_tokens",
    ]


def test_every_setting_is_listed_with_its_default() -> None:
    listed = {name_of(row[0]): name_of(row[1]) for row in rows("settings.md", "Every setting")}
    assert listed == dict(defaults(Settings()))
    variables = {name_of(row[0]) for row in rows("settings.md", "Environment")}
    assert variables == {*reading._ENVIRONMENT, *reading.NO_SETTINGS}
    assert [name_of(row[0]) for row in rows("settings.md", "Plans")] == list(DEFAULT_PLANS)


def defaults(section: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, str]]:
    for field in msgspec.structs.fields(type(section)):
        value = getattr(section, field.name)
        if isinstance(value, msgspec.Struct):
            yield from defaults(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", shown(value)


def shown(value: object) -> str:
    """Return a default as YAML has it."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, float):
        return f"{value:g}"
    return msgspec.json.encode(value).decode()


def test_every_route_is_listed() -> None:
    text = (DOCS / "http.md").read_text("utf-8")
    listed = set(re.findall(r"`((?:GET|POST|PUT|DELETE) /[^`]*)`", text))
    parts = (workloads, claims, admin, limits, operations)
    routers = (workloads.pages, *(part.router for part in parts))
    served = {
        f"{method} {route.path}"
        for router in routers
        for route in router.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    assert listed - {"GET /docs", "GET /openapi.json"} == served


def test_every_code_is_listed_with_its_status() -> None:
    listed = {name_of(row[0]): int(row[1]) for row in rows("http.md", "Errors")}
    kinds: list[type[TidegateError]] = [TidegateError, *descendants(TidegateError)]
    known = {
        kind.code: next(status for base, status in problems._STATUS if issubclass(kind, base))
        for kind in kinds
    }
    known |= OF_HTTP | STATUS
    assert listed == known
    sources = "".join(path.read_text("utf-8") for path in HTTP.glob("*.py"))
    sent = re.findall(r'\bproblem\((\d{3}), "(\w+)"', sources)
    assert len(sent) >= 5
    assert {(code, int(status)) for status, code in sent} <= known.items()


def descendants(kind: type[TidegateError]) -> Iterator[type[TidegateError]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_metric_is_listed() -> None:
    listed = [
        (name_of(row[0]), row[1], tuple(re.findall(r"`(\w+)`", row[2])), row[3])
        for row in rows("operations.md", "Metrics")
    ]
    assert listed == [(each.name, each.kind, each.labels, each.help) for each in FAMILIES]
