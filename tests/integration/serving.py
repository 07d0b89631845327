"""The real `tidegate` command: run to its end, or running as a service that can be watched."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

COMMAND = str(Path(sys.executable).with_name("tidegate"))
DEADLINE_S = 60.0
"""For what takes a second or three: machines that run tests are busy."""
TRACEBACK = "Traceback"


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Nothing of ours but what a process needs, a home of its own, and settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LANG") or name.startswith(("COVERAGE_", "COV_", "PLAYWRIGHT_"))
    }
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    home = {"HOME": str(folder), "TMPDIR": str(temporary)}
    return {**kept, **home, "TIDEGATE_DATA_DIR": str(folder / "data"), **settings}


def tidegate(
    *arguments: str, env: dict[str, str], stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=env,
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def until(true: Callable[[], bool], what: str, within_s: float = DEADLINE_S) -> None:
    """Wait for a condition; fail when it does not come."""
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users may pass through, as browsers do when we are root."""
    with tempfile.TemporaryDirectory(prefix="tidegate-test-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


class Running:
    """`tidegate serve`, in a process group of its own, its output in files."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.folder = folder
        self.env = environment(folder, **settings)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--port", str(self.port), *arguments],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.client = httpx.Client(base_url=self.url, timeout=DEADLINE_S, trust_env=False)

    @property
    def printed(self) -> str:
        return self.out.read_text("utf-8")

    @property
    def logged(self) -> str:
        return self.err.read_text("utf-8")

    def greeted(self, last: str) -> str:
        """Wait until the greeting holds `last`, and return it."""
        until(lambda: last in self.printed or self.process.poll() is not None, last)
        assert last in self.printed, self.logged
        return self.printed

    def ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def admin(self) -> dict[str, str]:
        """The header of the administrator."""
        key = self.env.get("TIDEGATE_ADMIN_KEY")
        key = key or (self.folder / "data" / "admin.key").read_text("utf-8").strip()
        return bearer(key)

    def tenant(self, name: str = "acme", plan: str = "enterprise") -> dict[str, str]:
        """Create a tenant and return its header."""
        body = {"name": name, "id": name, "plan": plan}
        answer = self.client.post("/admin/tenants", json=body, headers=self.admin())
        assert answer.status_code == 201, answer.text
        return bearer(answer.json()["api_key"])

    def component(self, name: str) -> str:
        """The state of one component."""
        parts = self.client.get("/readyz").json()["components"]
        state: str = next(part["state"] for part in parts if part["name"] == name)
        return state

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(folder: Path, *arguments: str, **settings: str) -> Iterator[Running]:
    """A service that answers. Whatever it started must be gone soon after its end."""
    service = Running(folder, *arguments, **settings)
    try:
        until(lambda: service.ready() or service.process.poll() is not None, "ready")
        assert service.process.poll() is None, service.logged
        yield service
    finally:
        service.close()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def descendants(pid: int) -> dict[int, str]:
    """Every process below `pid` by its command line, zombies left out."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            fields = stat[stat.rindex(")") + 2 :].split()
            if fields[0] not in "ZX":
                parents[int(entry.name)] = int(fields[1])
                commands[int(entry.name)] = command.replace(b"\0", b" ").decode("utf-8", "replace")
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return {child: commands[child] for child in found - {pid} if child in commands}


def alive(pids: dict[int, str]) -> list[str]:
    """Those of the processes that still run as what they were."""
    left = []
    for pid, command in pids.items():
        try:
            now = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if now.replace(b"\0", b" ").decode("utf-8", "replace") == command and command:
            left.append(command)
    return left


def without_browser(folder: Path, **sections: str) -> dict[str, str]:
    """Settings of a service that finds no browser, as a file."""
    path = folder / "config.yml"
    lines = ["browser:", "  path: /nowhere/chromium", *sections.values()]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return {"TIDEGATE_CONFIG": str(path)}


def find_key(text: str) -> str:
    """The first key in a text."""
    found = re.search(r"\btga?_[A-Za-z0-9_-]{16,}", text)
    assert found is not None, text
    return found[0]
