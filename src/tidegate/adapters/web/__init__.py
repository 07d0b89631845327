"""The way out to the web: a guard and a client."""

from __future__ import annotations

from importlib.util import find_spec

from tidegate.errors import ExtraMissing

if find_spec("h11") is None:
    raise ExtraMissing("server")
