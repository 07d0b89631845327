"""The error tree drawn on top of `errors.py` is the one below it; codes are stable names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.architecture.tree import assert_none, product
from tidegate import errors
from tidegate.errors import TidegateError

DRAWN = re.compile(r"^(?P<indent>[│ ]*)(?:[├└]── )?(?P<name>[A-Z]\w+)(?: |$)")


def classes(base: type[TidegateError] = TidegateError) -> Iterator[type[TidegateError]]:
    yield base
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child)


def drawn() -> dict[str, str | None]:
    """Class name to the name of its parent, as drawn: four columns for each level."""
    assert errors.__doc__
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = DRAWN.match(line)
        if not match or (not path and match["name"] != TidegateError.__name__):
            continue
        depth = len(match["indent"]) // 4 + ("── " in line)
        parents[match["name"]] = path[depth - 1] if depth else None
        path[depth:] = [match["name"]]
    return parents


def test_the_drawing_is_the_tree() -> None:
    actual = {
        error.__name__: None if error is TidegateError else error.__mro__[1].__name__
        for error in classes()
    }
    assert drawn() == actual


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.__dict__.get("code") for error in classes()]
    assert len(set(codes)) == len(codes)
    for code in codes:
        assert isinstance(code, str)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code), code


def test_no_other_module_adds_to_the_tree() -> None:
    names = {error.__name__ for error in classes()}
    elsewhere = [
        f"{module.at(node.lineno)} {node.name}"
        for module in product()
        if module.parts != ("errors",)
        for node in module.classes()
        if names & {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    ]
    assert_none(elsewhere)
