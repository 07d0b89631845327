"""The script that applies a batch on the server, put together from its parts."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path
from typing import Final

FIRST: Final = ("constants", "begin", "levels")
REST: Final = ("constants", "members", "queues", "claims", "calls")
LAST: Final = ("apply", "finish")
"""The parts in their order: each uses what the earlier ones define. The rest is a function, so that
a batch that needs nothing of it does not make it."""

_FOLDER = Path(__file__).with_name("lua")


def _text(parts: tuple[str, ...]) -> str:
    return "".join((_FOLDER / f"{part}.lua").read_text("utf-8") for part in parts)


SCRIPT: Final = f"{_text(FIRST)}local function open_rest()\n{_text(REST)}end\n{_text(LAST)}"
SHA: Final = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""What servers call it."""
