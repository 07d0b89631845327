"""`tidegate serve --demo`, met as a stranger does: read what it prints, paste what it offers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serving import (
    DEADLINE_S,
    TRACEBACK,
    Running,
    bearer,
    open_folder,
    running,
    tidegate,
    without_browser,
)

LAST_LINE = "Ctrl-C ends it."


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def paste(line: str, service: Running) -> dict[str, Any]:
    """Run one printed line the way a shell would, and return its answer."""
    ran = subprocess.run(
        ["/bin/bash", "-c", line],
        env={"PATH": os.environ["PATH"], "HOME": str(service.folder)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert ran.stderr == ""
    assert ran.stdout.endswith("}\n")
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def curls(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("curl ")]


@pytest.mark.needs("curl", "chromium", "playwright", "pdfium", "wasmtime")
def test_the_whole_demo(folder: Path) -> None:
    path = folder / "config.yml"
    path.write_text(f"browser: {{uid_base: {100_000 + 64 * (os.getpid() % 10_000)}}}\n", "utf-8")
    with running(folder, "--demo", TIDEGATE_CONFIG=str(path)) as service:
        printed = service.greeted(LAST_LINE)
        assert "degraded" not in printed
        render, extract, read = curls(printed)
        for _ in range(5):
            page, article, document = (paste(line, service) for line in (render, extract, read))
            assert (page["status"], page["degraded"], page["format"]) == (200, False, "text")
            assert page["title"] != "Loading"
            assert len(article["text"].split()) > 400
            assert document["page_count"] == len(document["pages"]) == 3
        leaves_nothing(service, folder)


@pytest.mark.needs("curl", "pdfium", "wasmtime")
def test_the_demo_without_a_browser(folder: Path) -> None:
    with running(folder, "--demo", **without_browser(folder)) as service:
        printed = service.greeted(LAST_LINE)
        lines = printed.splitlines()
        first = next(number for number, line in enumerate(lines) if line.startswith("curl "))
        assert "degraded" in lines[first - 1]
        assert "/nowhere/chromium" in "".join(lines[:first])
        assert [line for line in lines if len(line) > 100] == curls(printed)
        assert len(curls(printed)) == 3
        page, article, document = (paste(line, service) for line in curls(printed))
        assert (page["degraded"], page["title"]) == (True, "Loading")
        assert len(article["links"]) > 3
        assert document["page_count"] == 3
        says_where_everything_is(service, printed)
        leaves_nothing(service, folder)


def says_where_everything_is(service: Running, printed: str) -> None:
    """Its address, the key of the administrator and those of two tenants are as printed."""
    assert service.url in printed
    place = re.search(r"^Admin key +in (\S+)$", printed, re.MULTILINE)
    assert place is not None
    key = Path(place[1]).read_text("utf-8").strip()
    assert key not in printed
    known = service.client.get("/admin/tenants", headers=bearer(key)).json()["tenants"]
    said = re.findall(r"^Tenant (\S+) +key (\S+) +\((\S+) plan\)$", printed, re.MULTILINE)
    assert [(name, plan) for name, _, plan in said] == [("acme", "free"), ("globex", "basic")]
    assert {(tenant["id"], tenant["plan"]) for tenant in known} == {
        (name, plan) for name, _, plan in said
    }
    for _, tenant_key, _ in said:
        assert service.client.get("/v1/limits", headers=bearer(tenant_key)).status_code == 200
        assert tenant_key not in service.logged
    second = tidegate("serve", "--demo", "--port", str(service.port), env=service.env)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith(f"tidegate: port {service.port} on 127.0.0.1 cannot be had")


def leaves_nothing(service: Running, folder: Path) -> None:
    assert len(list((folder / "tmp").glob("tidegate-demo-*"))) == 1
    assert service.end() == 0
    assert list((folder / "tmp").iterdir()) == []
    assert not (folder / "data").exists()
    assert TRACEBACK not in service.logged
