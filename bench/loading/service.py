"""One `tidegate serve` with a data folder of its own and limits that the load runs into."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from loading.site import HOSTS
from loading.wire import Connection

READY_MAX_S = 60.0
END_MAX_S = 40.0
PLANS = {"fay": "free", "bob": "basic", "pia": "pro", "eve": "enterprise"}
LEASE_S = 5
"""How long a lease outlives a client that hung up."""

SETTINGS = """
browser: {uid_base: %(uid_base)d}
hosts: {units: 40, period_s: 1, burst: 40}
limits:
  - {kind: capacity, resource: gpus, units: 8, claimable: true}
  - {kind: rate, resource: tokens, units: 2000, period_s: 1, burst: 2000, per: [tenant],
     claimable: true}
"""
CAPACITIES = ("browsers", "pdf_workers", "wasm_instances", "memory", "gpus")


class Service:
    """The process, and what its administrator does."""

    def __init__(self, folder: Path, site_port: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.folder = folder
        (folder / "tmp").mkdir()
        # Browsers started as root get a user each, which no other service may use.
        uid_base = 1_000_000 + 64 * (os.getpid() % 10_000)
        (folder / "config.yml").write_text(SETTINGS % {"uid_base": uid_base})
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "TMPDIR": str(folder / "tmp"),
            "TIDEGATE_CONFIG": str(folder / "config.yml"),
            "TIDEGATE_DATA_DIR": str(folder / "data"),
            "TIDEGATE_EGRESS_ALLOW": ",".join(f"{host}:{site_port}" for host in HOSTS),
            **{name: text for name, text in os.environ.items() if name.startswith("COVERAGE_")},
        }
        self.keys: dict[str, str] = {}

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("tidegate")), "serve"]
        with (
            (self.folder / "out.txt").open("wb") as out,
            (self.folder / "log.txt").open("wb") as log,
        ):
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )

    async def ready(self) -> None:
        """Wait until every part is up, so that the load meets no start."""
        end_s = time.monotonic() + READY_MAX_S
        while time.monotonic() < end_s:
            assert self.process.poll() is None, self.log
            try:
                parts = (await self.call("GET", "/readyz"))["components"]
            except (OSError, EOFError):
                parts = []
            states = {part["name"]: part["state"] for part in parts}
            if states and all(
                states[name] == "ok" for name in ("store", "browsers", "pdf", "wasm")
            ):
                return
            await asyncio.sleep(0.1)
        raise SystemExit(f"not all parts came up: {states}")

    async def create_tenants(self) -> None:
        for name, plan in PLANS.items():
            body = {"name": name, "id": name, "plan": plan}
            self.keys[name] = (await self.call("POST", "/admin/tenants", body))["api_key"]

    async def call(self, method: str, path: str, body: object = None, *, tenant: str = "") -> Any:
        """Call as the administrator, or as a tenant, and return the JSON of the answer."""
        connection = Connection(self.port)
        try:
            key = self.keys[tenant] if tenant else self._admin_key()
            return (await connection.call(method, path, key, body)).json()
        finally:
            connection.close()

    async def metrics(self) -> dict[str, float]:
        """The samples of /metrics by name and labels."""
        connection = Connection(self.port)
        try:
            text = (await connection.call("GET", "/metrics", "none")).body.decode()
        finally:
            connection.close()
        rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    def end(self) -> int:
        """Ask for the end and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_MAX_S)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text("utf-8", "replace")

    def _admin_key(self) -> str:
        return (self.folder / "data" / "admin.key").read_text().strip()
