"""Where the gateways are: on the PATH, or where `scripts/gateways.sh` put them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PLACE = Path(__file__).parents[2] / "build" / "gateways"
UNPACKED = PLACE / "root"
MESSAGES = PLACE / "messages"
"""The messages of Envoy's interface, and a client that speaks gRPC."""

ENVOY = PLACE / "envoy" / "envoy" / "_bin" / "envoy"


def binary(name: str) -> str | None:
    """Return the path of a gateway's program."""
    if name == "envoy":
        return str(ENVOY) if ENVOY.exists() else shutil.which("envoy")
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    own = [str(UNPACKED / "usr" / "sbin"), str(UNPACKED / "usr" / "bin")]
    return shutil.which(name, path=os.pathsep.join([*folders, *own]))


def libraries() -> dict[str, str]:
    """Return what an unpacked program needs in its environment."""
    folders = [str(path) for path in UNPACKED.glob("usr/lib/*-linux-gnu*") if path.is_dir()]
    return {"LD_LIBRARY_PATH": os.pathsep.join(folders)} if folders else {}
