"""The source tree as data: modules, what they import, what stands in them."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
PACKAGE = "tidegate"
IGNORED = {
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".ruff_cache",
    ".venv",
    "__pycache__",
    "build",
    "dist",
}
"""What a working tree may hold beside the repository, where git cannot be asked."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module or name, dotted. `for_types`: inside `if TYPE_CHECKING:`."""

    module: str
    line: int
    for_types: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One parsed file. `name` is dotted; that of a package has no `__init__`."""

    path: Path
    name: str
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def parts(self) -> tuple[str, ...]:
        """The name below the package: ("adapters", "sql", "database"), () for the package."""
        return tuple(self.name.split("."))[1:]

    def at(self, line: int) -> str:
        """Where a reader finds it."""
        return f"{self.path.relative_to(ROOT)}:{line}"

    def imports(self) -> Iterator[Import]:
        """Every import, also those inside functions, with relative ones made absolute."""
        yield from self._imports_in(self.tree, for_types=False)

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def classes(self) -> Iterator[ast.ClassDef]:
        """Every class, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                yield node

    def _imports_in(self, parent: ast.AST, *, for_types: bool) -> Iterator[Import]:
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                yield from self._imports_in(node, for_types=True)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                for name in self._names(node):
                    yield Import(module=name, line=node.lineno, for_types=for_types)
            else:
                yield from self._imports_in(node, for_types=for_types)

    def _names(self, node: ast.Import | ast.ImportFrom) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        module = node.module or ""
        if node.level:
            package = self.name.split(".")
            drop = node.level - (self.path.name == "__init__.py")
            module = ".".join([*package[: len(package) - drop], *filter(None, [module])])
        # `from package import module` imports the module; a plain name does no harm.
        return [f"{module}.{alias.name}" for alias in node.names]


def assert_none(found: Iterable[str]) -> None:
    """Fail with every finding on a line of its own; pytest would show the first alone."""
    lines = "\n".join(found)
    assert not lines, f"\n{lines}"


def parse(path: Path, *, below: Path) -> Module:
    """Read one file; its name is its place below `below`."""
    parts = list(path.relative_to(below).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    text = path.read_text("utf-8")
    return Module(path=path, name=".".join(parts), text=text, tree=ast.parse(text))


@functools.cache
def product() -> tuple[Module, ...]:
    """Every module of the product."""
    return tuple(parse(path, below=SRC) for path in sorted((SRC / PACKAGE).rglob("*.py")))


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Every file of the repository that is not ignored; without git, every file of the tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    # A git hook exports variables that would point this git at another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        listing = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return tuple(path for path in _walk(ROOT) if path.is_file())
    names = [os.fsdecode(name) for name in listing.stdout.split(b"\0") if name]
    return tuple(path for path in (ROOT / name for name in sorted(names)) if path.is_file())


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in IGNORED:
            continue
        yield path
        if path.is_dir():
            yield from _walk(path)
