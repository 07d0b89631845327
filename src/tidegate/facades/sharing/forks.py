"""What has to begin anew in a process that was forked off, since it has what is the parent's."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

_watching: set[weakref.WeakMethod[Callable[[], Any]]] = set()


def watch(begin: Callable[[], Any]) -> None:
    """Call a method in every process that is forked off, as long as there is its object."""
    _watching.add(weakref.WeakMethod(begin, _watching.discard))


def _forked() -> None:
    for reference in list(_watching):
        begin = reference()
        if begin is not None:
            begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
