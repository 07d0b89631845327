"""The examples for web frameworks run as they stand, and the guide says what is so."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.frameworks import (
    DEADLINE_S,
    asgi_server,
    werkzeug_server,
    wsgiref_server,
)

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
BLOCK = re.compile(r"^```python\n(.*?)^```\n\n((?:    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)
CALLS = 25


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Any:
    name: str = request.param
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("example", "server", "path"),
    [
        ("fastapi_app", asgi_server, "/report"),
        ("starlette_app", asgi_server, "/report"),
        ("flask_app", werkzeug_server, "/report"),
        ("wsgi_app", wsgiref_server, "/"),
    ],
    indirect=["example"],
)
def test_an_example_serves_some_and_refuses_the_rest(example: Any, server: Any, path: str) -> None:
    headers = {"X-Tenant": "acme"}
    with server(example.app) as address:
        url = f"http://{address}{path}"
        with httpx.Client(headers=headers, timeout=DEADLINE_S, trust_env=False) as client:
            answers = [client.get(url) for _ in range(CALLS)]
            if example.__name__ == "starlette_app":
                health = [client.get(f"http://{address}/health") for _ in range(CALLS)]
                assert {answer.status_code for answer in health} == {200}
    example.gate.close()
    assert [answer.status_code for answer in answers[:5]] == [200] * 5
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["ratelimit"].startswith('"requests";r=0;t=1')
            assert "rate_limited" in answer.text


ALONE = """
import asyncio, httpx, {name}

async def main():
    transport = httpx.{transport}
    headers = {{"X-Tenant": "acme"}}
    url = "http://127.0.0.1/report"
    if {name}.__name__ == "django_app":
        with httpx.Client(transport=transport, headers=headers) as client:
            return [client.get(url) for _ in range({calls})]
    async with httpx.AsyncClient(transport=transport, headers=headers) as client:
        return [await client.get(url) for _ in range({calls})]

answers = asyncio.run(main())
print(*(answer.status_code for answer in answers), answers[-1].headers["retry-after"])
"""


@pytest.mark.parametrize(
    ("name", "transport"),
    [
        pytest.param("django_app", "WSGITransport(django_app.application)", id="django"),
        pytest.param("litestar_app", "ASGITransport(litestar_app.app)", id="litestar"),
    ],
)
def test_an_example_that_changes_its_process_serves_some_and_refuses_the_rest(
    name: str, transport: str
) -> None:
    # A process can have one Django project; Litestar sets up the logging of the whole process.
    program = ALONE.format(name=name, transport=transport, calls=CALLS)
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *codes, wait_s = done.stdout.split()
    assert codes[:5] == ["200"] * 5
    assert set(codes) == {"200", "429"}
    assert wait_s == "1"


def test_the_guide_s_code_runs_and_prints_what_stands_below() -> None:
    blocks = BLOCK.findall((DOCS / "guides" / "web-frameworks.md").read_text("utf-8"))
    assert blocks
    for code, below in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "web-frameworks.md", "exec"), {})
        assert printed.getvalue() == re.sub("^    ", "", below, flags=re.MULTILINE)
