"""Which parts of the world are here: one cheap probe for each component a test may need.

A probe tries the thing where asking is not enough: a file system may look writable and refuse.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zoneinfo
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.gateways import places
from tests.servers import found
from tidegate.adapters.chromium.binary import find_binary
from tidegate.errors import BrowserUnavailable


def _chromium() -> bool:
    try:
        find_binary(None)
    except BrowserUnavailable:
        return False
    return True


def _module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _root() -> bool:
    return os.geteuid() == 0


def _linux_proc() -> bool:
    return sys.platform == "linux" and Path("/proc/self/stat").exists()


def _cgroup_v2() -> bool:
    """Whether a child group can be made in the unified hierarchy."""
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return False
    own = Path("/proc/self/cgroup").read_text("ascii").strip().rpartition("::/")[2]
    probe = Path("/sys/fs/cgroup") / own / f"tidegate-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def _cgroup_v1() -> bool:
    """Whether groups can be made where version 1 keeps memory, CPU time and CPUs."""
    for controller in ("memory", "cpu", "cpuset"):
        probe = Path(f"/sys/fs/cgroup/{controller}/tidegate-probe-{os.getpid()}")
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError:
            return False
    return True


def _gateway(name: str) -> bool:
    return places.binary(name) is not None


def _ipv6() -> bool:
    """Whether the IPv6 loopback address can be listened on."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def _tmpfs() -> bool:
    """Whether a small memory file system can be mounted."""
    if not _root() or not shutil.which("mount"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
    return True


def _curl() -> bool:
    return shutil.which("curl") is not None


def _valkey() -> bool:
    """Whether a real server can be written to: a given one, or one that is started here."""
    return bool(found.REDIS_URL) or _valkey_own()


def _valkey_own() -> bool:
    """Whether a real server can be started, and so also be killed."""
    return _linux_proc() and found.valkey_binary() is not None


def _postgres() -> bool:
    return bool(found.POSTGRES_URL) or _postgres_own()


def _postgres_own() -> bool:
    return _linux_proc() and found.postgres_folder() is not None


def _pgbouncer() -> bool:
    """Whether a pooler can be started before a PostgreSQL of our own."""
    return _postgres_own() and found.pgbouncer_binary() is not None


def _tzdata() -> bool:
    """Whether the rules of time zones are here, with the system or as a package."""
    return bool(zoneinfo.available_timezones())


def _gpu() -> bool:
    if not shutil.which("nvidia-smi"):
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=30, check=False)
    return listing.returncode == 0 and b"GPU" in listing.stdout


PROBES: dict[str, Callable[[], bool]] = {
    "caddy": partial(_gateway, "caddy"),
    "cgroup_v1": _cgroup_v1,
    "cgroup_v2": _cgroup_v2,
    "chromium": _chromium,
    "curl": _curl,
    "envoy": partial(_gateway, "envoy"),
    "envoy_messages": (places.MESSAGES / "grpc").is_dir,
    "gpu": _gpu,
    "haproxy": partial(_gateway, "haproxy"),
    "ipv6": _ipv6,
    "linux_proc": _linux_proc,
    "nginx": partial(_gateway, "nginx"),
    "pdfium": partial(_module, "pypdfium2"),
    "pgbouncer": _pgbouncer,
    "playwright": partial(_module, "playwright"),
    "postgres": _postgres,
    "postgres_own": _postgres_own,
    "root": _root,
    "tmpfs": _tmpfs,
    "tzdata": _tzdata,
    "uvloop": partial(_module, "uvloop"),
    "valkey": _valkey,
    "valkey_own": _valkey_own,
    "wasmtime": partial(_module, "wasmtime"),
    "ziglang": partial(_module, "ziglang"),
}
