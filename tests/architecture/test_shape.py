"""Sizes, docstrings and shapes that keep a file readable in one pass."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import ROOT, Function, Module, assert_none, parse, product, tracked

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 50
ROUTE_LINES_MAX = 20
PORT_METHODS_MAX = 8
ROUTE_DECORATORS = {"get", "put", "post", "patch", "delete", "head", "route", "api_route"}
ROUTE_REGISTRATIONS = {"Route", "APIRoute", "add_route", "add_api_route"}


def python_files() -> list[Module]:
    files = [path for path in tracked() if path.suffix == ".py"]
    return [parse(path, below=ROOT) for path in files]


def length(function: Function) -> int:
    """Lines of the function without its decorators and its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def called(node: ast.AST) -> str:
    """The last name of what a call calls, or nothing."""
    return ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""


def registered(module: Module) -> set[str]:
    """Names of the functions that are handed to `Route(...)` or `add_route(...)`."""
    return {
        value.id
        for call in ast.walk(module.tree)
        if isinstance(call, ast.Call) and called(call) in ROUTE_REGISTRATIONS
        for value in (*call.args, *(keyword.value for keyword in call.keywords))
        if isinstance(value, ast.Name)
    }


def routes(modules: list[Module]) -> Iterator[tuple[Module, Function]]:
    """Every route function, decorated or registered by name in any of the modules."""
    names = {name for module in modules for name in registered(module)}
    for module in modules:
        for function in module.functions():
            decorated = ROUTE_DECORATORS & {called(each) for each in function.decorator_list}
            if decorated or function.name in names:
                yield module, function


def public_bodies(module: Module) -> list[list[ast.stmt]]:
    """What stands in the module and in each of its public classes."""
    public = [node.body for node in module.classes() if not node.name.startswith("_")]
    return [module.tree.body, *public]


def test_files_are_short() -> None:
    long = [
        f"{module.path.relative_to(ROOT)}: {lines} lines"
        for module in python_files()
        if (lines := module.text.count("\n")) > FILE_LINES_MAX
    ]
    assert_none(long)


def test_functions_are_short() -> None:
    long = [
        f"{module.at(function.lineno)} {function.name}: {lines} lines"
        for module in python_files()
        for function in module.functions()
        if (lines := length(function)) > FUNCTION_LINES_MAX
    ]
    assert_none(long)


def test_routes_are_thin() -> None:
    http = [module for module in product() if module.parts[:2] == ("entrypoints", "http")]
    long = [
        f"{module.at(function.lineno)} {function.name}: {lines} lines"
        for module, function in routes(http)
        if (lines := length(function)) > ROUTE_LINES_MAX
    ]
    assert_none(long)


ROUTES = '''
@router.get("/a")
async def decorated(request):
    """Docstrings

    do not count."""
    return 1

async def registered(request):
    return 1

def helper():
    return 1

app.add_route("/b", registered)
'''


def test_routes_are_found_and_measured(tmp_path: Path) -> None:
    path = tmp_path / "routes.py"
    path.write_text(ROUTES)
    found = {function.name: function for _, function in routes([parse(path, below=tmp_path)])}
    assert set(found) == {"decorated", "registered"}
    assert [length(function) for function in found.values()] == [2, 2]


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(module.path.relative_to(ROOT))
        for module in python_files()
        if module.tree.body and not ast.get_docstring(module.tree)
    ]
    assert_none(silent)


def test_everything_public_has_a_docstring() -> None:
    silent = [
        f"{module.at(node.lineno)} {node.name}"
        for module in product()
        for body in public_bodies(module)
        for node in body
        if isinstance(node, Function | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert_none(silent)


def test_ports_are_short() -> None:
    protocols = {
        node.name: node
        for module in product()
        if module.parts[:1] == ("ports",)
        for node in module.classes()
        if any("Protocol" in ast.unparse(base) for base in node.bases)
    }
    assert protocols, "no port was found"
    methods = {name: port_methods(node, protocols) for name, node in protocols.items()}
    assert {name: found for name, found in methods.items() if len(found) > PORT_METHODS_MAX} == {}


def port_methods(node: ast.ClassDef, protocols: dict[str, ast.ClassDef]) -> set[str]:
    """Names of the methods and properties of a port, inherited ones too."""
    found = {child.name for child in node.body if isinstance(child, Function)}
    for base in node.bases:
        name = ast.unparse(base)
        if name in protocols:
            found |= port_methods(protocols[name], protocols)
    return found
