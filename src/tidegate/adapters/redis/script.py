"""The script that applies a batch on the server, put together from its parts."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path
from typing import Final

FIRST: Final = ("constants", "begin", "levels")
REST: Final = ("constants", "members", "queues", "claims", "calls")
LAST: Final = ("apply", "finish")
"""The parts in their order: each uses what the earlier ones define. The rest is what few batches
need; making it ready takes as long as ten claims."""

_FOLDER = Path(__file__).with_name("lua")


def _text(parts: tuple[str, ...]) -> str:
    return "".join((_FOLDER / f"{part}.lua").read_text("utf-8") for part in parts)


_NEEDED = "local rest = (not plain or queued or faded or #dead > 0) and (function()\n"

SCRIPT: Final = f"{_text(FIRST)}{_NEEDED}{_text(REST)}end)()\n{_text(LAST)}"
SHA: Final = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""What servers call it."""
