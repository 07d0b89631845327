"""What a check costs: asked directly, and through each real gateway that is here.

The same run measures what there would be without: a route of the framework beside `/v1/check`,
and each gateway with an application and no check. Gateway, service, application and clients share
the machine, and clients wait for each answer before they ask again, so ratios say more than rates.

Run: python bench/gateways.py [--seconds 3] [--rounds 2]     (gateways: scripts/gateways.sh install)
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.gateways.conftest import Stage, serve
from tests.gateways.gateway import ADMIN_KEY, APP, ENVOY, HAPROXY, KINDS, gateway
from tests.gateways.places import binary
from tests.integration.serving import free_port, open_folder, until

PLENTY = "plans: {enterprise: {quotas: {requests_per_second: 1000000, requests_burst: 1000000}}}\n"
CONNECTIONS = (1, 32)
END = b"\r\n\r\n"


class Client(asyncio.Protocol):
    """Sends a request, waits for its answer, and sends the next; connects again when closed."""

    def __init__(self, port: int, request: bytes) -> None:
        self.port, self.request, self.buffer = port, request, b""
        self.waits_s: list[float] = []
        self.wrong = 0
        self.done = False
        self.connecting: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, "127.0.0.1", self.port)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.done:
            self.buffer = b""
            self.connecting = asyncio.ensure_future(self.connect())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.asked_s = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(END)
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not mark or len(rest) < int(length or 0):
            return
        self.waits_s.append(time.perf_counter() - self.asked_s)
        self.wrong += b" 200 " not in head.partition(b"\r\n")[0]
        self.buffer = b""
        self.ask()


class Application(asyncio.Protocol):
    """Answers every request with nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        answers = data.count(END)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * answers)  # type: ignore[attr-defined]


async def load(port: int, path: str, connections: int, seconds: float, key: str) -> str:
    """Ask over so many connections; say the rate and the median wait."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-Tenant-ID: acme\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    ).encode()
    clients = [Client(port, request) for _ in range(connections)]
    for client in clients:
        await client.connect()
    await asyncio.sleep(seconds / 4)
    for client in clients:
        client.waits_s.clear()
    started_s = time.perf_counter()
    await asyncio.sleep(seconds)
    took_s = time.perf_counter() - started_s
    waits_s = [wait_s for client in clients for wait_s in client.waits_s]
    wrong = sum(client.wrong for client in clients)
    for client in clients:
        client.done = True
        client.transport.close()
    assert not wrong, f"{wrong} answers were no 200"
    return f"{len(waits_s) / took_s:7.0f}/s {statistics.median(waits_s) * 1e6:6.0f} us"


def measure(name: str, port: int, path: str, key: str, arguments: argparse.Namespace) -> None:
    """Print one line: every number of connections, every round."""
    cells = []
    for connections in CONNECTIONS:
        for _ in range(arguments.rounds):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                cell = runner.run(load(port, path, connections, arguments.seconds, key))
            cells.append(f"c{connections}: {cell}")
    print(f"{name:28} {'   '.join(cells)}", flush=True)


@contextmanager
def application() -> Iterator[int]:
    """An application in a process of its own: its port."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=answer, args=(port,))
    process.start()
    try:
        until(lambda: listens(port), "the application listens")
        yield port
    finally:
        process.terminate()
        process.join()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answer(port: int) -> None:
    """Serve until the process is ended."""

    async def serve_for_ever() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Application, "127.0.0.1", port)
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_for_ever())


WITHOUT: dict[str, tuple[tuple[str, str], ...]] = {
    "nginx": ((r"auth_request /[^\n]*", "auth_request off;"), (r"post_action[^\n]*", "")),
    "caddy": ((r"\tforward_auth(?s:.*?)\n\t\t\}\n", ""),),
    "haproxy": ((r"\n +filter spoe[^\n]*", ""), (r"\n +http-request return[^\n]*", "")),
    "envoy-authz": ((r"- name: envoy.filters.http.ext_authz(?s:.*?)(?=- name: envoy)", ""),),
    "envoy-ratelimit": ((r"typed_per_filter_config:(?s:.*?)(?=\n +(- match|http_filters))", ""),),
}
"""What to take out of each example so that it asks nobody."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with application() as app, open_folder() as folder:
        (folder / "settings").mkdir()
        (folder / "settings" / "3.yml").write_text(PLENTY, "utf-8")
        with serve(folder, {ENVOY: free_port(), HAPROXY: free_port()}) as (service, ports):
            stage = Stage(service, folder, {**ports, APP: app})
            key = service.tenant("acme")["Authorization"].removeprefix("Bearer ")
            measure("a route of the framework", service.port, "/v1/leases", key, arguments)
            measure("/v1/check, tenant's key", service.port, "/v1/check", key, arguments)
            measure("/v1/check, admin key", service.port, "/v1/check", ADMIN_KEY, arguments)
            run: Callable[..., None] = measure
            for name in KINDS:
                if binary(KINDS[name].program) is None:
                    print(f"{name:28} is not here")
                    continue
                with gateway(name, folder, stage.ports, changes=WITHOUT[name]) as bare:
                    run(f"{name}, no check", bare.port, "/", key, arguments)
                with gateway(name, folder, stage.ports) as gate:
                    run(f"{name}, with check", gate.port, "/", key, arguments)


if __name__ == "__main__":
    main()
