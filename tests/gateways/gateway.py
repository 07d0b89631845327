"""A real gateway, run with the file that docs/examples/gateways shows, on ports of its own."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.gateways.places import binary, libraries
from tests.integration.serving import DEADLINE_S, free_port, until

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "gateways"
ADMIN_KEY = "tga_the-key-of-these-tests"
GATE, APP, HTTP, ENVOY, HAPROXY = 8000, 9000, 8080, 8081, 8082
"""The ports that the examples name."""

_PORT = re.compile(r"(:|: )(8000|9000|808[012])\b")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one gateway is run, and what its example leaves to whoever copies it.

    `opens` and `own_keys` are changes to the text, as pairs of a pattern and what replaces it.
    """

    program: str
    files: tuple[str, ...]
    command: tuple[str, ...]
    closed_status: int
    opens: tuple[tuple[str, str], ...]
    own_keys: tuple[tuple[str, str], ...] = ()
    stalled_status: int = 0
    releases: bool = False
    """Tells when a request is answered."""


_NGINX_COMMAND = ("-e", "stderr", "-p", "{folder}", "-c", "nginx.conf")
_OPEN_LINES = (r"#open ?", "")

KINDS = {
    "nginx": Kind(
        program="nginx",
        files=("nginx.conf",),
        command=(*_NGINX_COMMAND, *(("-g", "user root;") if os.geteuid() == 0 else ())),
        closed_status=500,
        opens=(_OPEN_LINES,),
        own_keys=(
            (
                r"proxy_set_header Authorization [^\n]*\s*proxy_set_header X-Tenant-ID \$h[^\n]*",
                "",
            ),
        ),
        releases=True,
    ),
    "caddy": Kind(
        program="caddy",
        files=("Caddyfile",),
        command=("run", "--config", "Caddyfile", "--adapter", "caddyfile"),
        closed_status=502,
        stalled_status=504,
        opens=(_OPEN_LINES,),
        own_keys=((r"header_up Authorization [^\n]*", ""),),
    ),
    "haproxy": Kind(
        program="haproxy",
        files=("haproxy.cfg", "haproxy-spoe.cfg"),
        command=("-db", "-f", "haproxy.cfg"),
        closed_status=503,
        opens=((r"(?m)^ *http-request return status 503 hdr Retry-After 1 if[^\n]*$", ""),),
        own_keys=(
            (
                r"check\n *args key=env\(TIDEGATE_ADMIN_KEY\) tenant=req.hdr\(X-Tenant-ID\)",
                "check\n    args key=req.hdr(Authorization)",
            ),
        ),
        releases=True,
    ),
    "envoy-authz": Kind(
        program="envoy",
        files=("envoy-authz.yaml",),
        command=(
            "--base-id",
            "{port}",
            "--concurrency",
            "1",
            "-l",
            "warn",
            "-c",
            "envoy-authz.yaml",
        ),
        closed_status=503,
        opens=((r"failure_mode_allow: false", "failure_mode_allow: true"),),
        own_keys=((r"- \{key: authorization[^\n]*", ""),),
    ),
    "envoy-ratelimit": Kind(
        program="envoy",
        files=("envoy-ratelimit.yaml",),
        command=(
            *("--base-id", "{port}", "--concurrency", "1", "-l", "warn"),
            *("-c", "envoy-ratelimit.yaml"),
        ),
        closed_status=500,
        opens=((r"failure_mode_deny: true", "failure_mode_deny: false"),),
    ),
}


def rendered(name: str, ports: Mapping[int, int], changes: tuple[tuple[str, str], ...] = ()) -> str:
    """Return the text of an example with other ports, a key, and these changes."""
    text = (EXAMPLES / name).read_text("utf-8")
    for pattern, replacement in changes:
        text = re.sub(pattern, replacement, text)
    text = _PORT.sub(lambda found: f"{found[1]}{ports[int(found[2])]}", text)
    return text.replace("ADMIN-KEY", ADMIN_KEY)


@dataclass(kw_only=True)
class Gateway:
    """One that runs."""

    kind: Kind
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=DEADLINE_S, trust_env=False)

    @property
    def logged(self) -> str:
        return (self.folder / "gateway.log").read_text("utf-8", "replace")

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path: str, tenant: str = "", **headers: str) -> httpx.Response:
        """Ask for a path in the name of a tenant."""
        named = {"X-Tenant-ID": tenant} if tenant else {}
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(path, headers={**named, **own})

    def begin(self, path: str, tenant: str) -> socket.socket:
        """Send a request, and leave its answer to whoever wants it."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        head = f"GET {path} HTTP/1.1\r\nHost: gate\r\nX-Tenant-ID: {tenant}\r\n\r\n"
        client.sendall(head.encode())
        return client

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def gateway(
    name: str,
    folder: Path,
    ports: Mapping[int, int],
    *,
    changes: tuple[tuple[str, str], ...] = (),
) -> Iterator[Gateway]:
    """Run a gateway until the body is done."""
    kind, port = KINDS[name], free_port()
    place = folder / f"{name}-{port}"
    place.mkdir()
    for file in kind.files:
        (place / file).write_text(rendered(file, {**ports, GATE: port}, changes), "utf-8")
    program = binary(kind.program)
    assert program is not None
    command = [part.format(folder=place, port=port) for part in kind.command]
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "TIDEGATE_ADMIN_KEY": ADMIN_KEY}
    with (place / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *command],
            cwd=place,
            env={**env, **libraries()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    running = Gateway(kind=kind, folder=place, port=port, process=process)
    try:
        until(lambda: running.listens() or process.poll() is not None, f"{name} listens")
        assert process.poll() is None, running.logged
        yield running
    finally:
        running.close()
