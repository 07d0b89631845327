"""Who may import whom, and who may touch the clock, the environment and randomness."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, Import, Module, assert_none, parse, product

LAYERS = ("errors", "domain", "ports", "managers", "facades", "bootstrap", "entrypoints")
"""Each may import itself and what stands to its left."""

BESIDE = {
    "forms": set(),
    "__init__": {"forms", "errors", "domain", "ports", "managers", "facades", "bootstrap"},
    "adapters": {"errors", "domain", "ports"},
    "config": {"errors", "domain"},
    "bootstrap": {"adapters", "config"},
    "compat": {"errors", "domain", "ports", "managers", "facades", "bootstrap"},
    "testing": {"errors", "domain", "ports", "managers", "facades", "bootstrap"},
    "entrypoints": {"compat", "testing"},
}
"""What a layer may import besides, or a module that stands beside the layers."""

FOR_TYPES = {("errors", "domain")}
"""`AdmissionDenied` carries a `Denied` of the domain; only its annotation names it."""

PURE_LIBRARIES = {"msgspec"}
"""All that the core may need besides the standard library."""

WITH_LIBRARIES = {"adapters", "bootstrap", "config", "entrypoints", "testing"}
WITH_THE_WORLD = {"adapters", "bootstrap", "entrypoints", "forms", "testing"}

WORLD_MODULES = {"random", "secrets", "time", "uuid"}
WORLD_CALLS = {
    "os.environ",
    "os.getenv",
    "os.urandom",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
}
HEAVY = {"click", "fastapi", "httpx", "playwright", "pypdfium2", "sqlite3", "wasmtime"}


def layer_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts else "__init__"


def allowed(layer: str) -> set[str]:
    rank = LAYERS.index(layer) + 1 if layer in LAYERS else 0
    return {layer, *LAYERS[:rank], *BESIDE.get(layer, set())}


def breach(module: Module, imported: Import) -> str | None:
    """Say what is wrong with one import of a module of the product, if anything is."""
    target = tuple(imported.module.split("."))[1:]
    here, there = layer_of(module.parts), layer_of(target)
    if imported.for_types and (here, there) in FOR_TYPES:
        return None
    if there not in allowed(here):
        return f"{here} may not import {there}"
    if here == there == "adapters" and module.parts[1:2] != target[1:2]:
        return "adapters may not import each other"
    return None


def breaches(modules: tuple[Module, ...]) -> list[str]:
    found = []
    for module in modules:
        for imported in module.imports():
            if imported.module.split(".")[0] != "tidegate":
                continue
            if problem := breach(module, imported):
                found.append(f"{module.at(imported.line)}: {problem} ({imported.module})")
    return found


def world_touches(module: Module) -> list[str]:
    """Where a module reaches for the clock, the environment or randomness."""
    found = [
        module.at(imported.line) + f": imports {imported.module}"
        for imported in module.imports()
        if imported.module.split(".")[0] in WORLD_MODULES or imported.module in WORLD_CALLS
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            name = ".".join(ast.unparse(node).split(".")[-2:])
            if name in WORLD_CALLS:
                found.append(f"{module.at(node.lineno)}: {name}")
    return found


def third_parties(module: Module) -> dict[str, int]:
    """Top-level names of libraries, and the line of an import."""
    own = {"tidegate", "__future__", *sys.stdlib_module_names}
    names = {imported.module.split(".")[0]: imported.line for imported in module.imports()}
    return {name: line for name, line in names.items() if name not in own}


def test_every_import_keeps_to_the_layers() -> None:
    assert_none(breaches(product()))


def test_every_module_stands_in_a_known_layer() -> None:
    known = {*LAYERS, *BESIDE}
    assert {layer_of(module.parts) for module in product()} <= known


def test_adapters_are_imported_only_by_those_who_serve() -> None:
    """Two modules import every adapter; so nobody else imports them but inside a function."""
    heavy = ("adapters", "bootstrap.wiring", "workers")
    top_level = [
        f"{module.at(node.lineno)}: {ast.unparse(node)}"
        for module in product()
        if layer_of(module.parts) == "bootstrap"
        and module.path.name not in ("wiring.py", "workers.py")
        for node in module.tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(name in ast.unparse(node) for name in heavy)
    ]
    assert_none(top_level)


def test_the_core_needs_no_library_but_msgspec() -> None:
    found = [
        f"{module.at(line)}: {name}"
        for module in product()
        if layer_of(module.parts) not in WITH_LIBRARIES
        for name, line in third_parties(module).items()
        if name not in PURE_LIBRARIES
    ]
    assert_none(found)


def test_an_adapter_file_has_one_client_library() -> None:
    found = [
        f"{module.path.relative_to(ROOT)}: {', '.join(sorted(libraries))}"
        for module in product()
        if layer_of(module.parts) == "adapters"
        and len(libraries := set(third_parties(module)) - PURE_LIBRARIES) > 1
    ]
    assert_none(found)


def test_only_the_rim_touches_clock_environment_and_randomness() -> None:
    touches = [
        touch
        for module in product()
        if layer_of(module.parts) not in WITH_THE_WORLD
        for touch in world_touches(module)
    ]
    assert_none(touches)


def test_importing_tidegate_loads_nothing_heavy() -> None:
    code = f"import sys, tidegate; print(*sorted({HEAVY!r} & set(sys.modules)))"
    # A measured interpreter has coverage's own imports in it.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=env, capture_output=True, check=True)
    assert result.stdout.decode().split() == []


@pytest.mark.parametrize(
    ("place", "code", "problem"),
    [
        ("domain/x.py", "from tidegate.ports import clock", "domain may not import ports"),
        ("domain/x.py", "import tidegate.facades.gate", "domain may not import facades"),
        ("domain/x.py", "def f():\n    from tidegate import bootstrap", "import bootstrap"),
        ("domain/x.py", "from ..ports.clock import Clock", "domain may not import ports"),
        ("facades/x.py", "from tidegate.adapters import sql", "may not import adapters"),
        ("facades/x.py", "import tidegate", "may not import __init__"),
        ("adapters/sql/x.py", "from tidegate.adapters.memory import y", "each other"),
        ("adapters/sql/x.py", "from tidegate.facades import y", "may not import facades"),
        ("adapters/sql/x.py", "from . import connection", None),
        ("bootstrap.py", "from tidegate.adapters.sql import y", None),
        ("entrypoints/http/x.py", "from tidegate import config", "may not import config"),
        ("entrypoints/http/x.py", "from tidegate.bootstrap import y", None),
        (
            "ports/x.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tidegate.facades.gate",
            "ports may not import facades",
        ),
    ],
)
def test_the_rule_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, code: str, problem: str | None
) -> None:
    monkeypatch.setattr("tests.architecture.tree.ROOT", tmp_path)
    path = tmp_path / "tidegate" / place
    path.parent.mkdir(parents=True)
    path.write_text(code)
    found = breaches((parse(path, below=tmp_path),))
    assert bool(found) == bool(problem)
    assert problem is None or problem in found[0]


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from random import random",
        "import os\nos.environ['A']",
        "from os import getenv",
        "import datetime\ndatetime.datetime.now()",
    ],
)
def test_the_rule_about_the_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr("tests.architecture.tree.ROOT", tmp_path)
    path = tmp_path / "x.py"
    path.write_text(code)
    assert world_touches(parse(path, below=tmp_path))
