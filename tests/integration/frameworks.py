"""Real servers in threads, around applications that count who is inside."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import uvicorn
from werkzeug.serving import make_server

from tidegate import Capacity, Claim, Gate, RateLimit

DEADLINE_S = 60.0
SLOTS = 3


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fail when it does not come."""
    end_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end_s, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.005)


def gate_of(requests: int = 10_000) -> Gate:
    """A gate with three slots, and so many requests for each tenant as good as for ever."""
    return Gate(
        limits=[
            RateLimit("requests", units=requests, period_s=1e8, per=("tenant",)),
            Capacity("slots", units=SLOTS),
        ]
    )


def free(gate: Gate) -> int:
    """Slots that nobody holds."""
    (slots,) = [state for state in gate.limits(Claim()) if state.name == "slots"]
    return slots.remaining


class Room:
    """What endpoints run in: counts who is inside. Its door opens outwards when it was full once.

    With `locked` it does not: only `open` lets them out.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._door = threading.Event()
        self.locked = False
        self.inside = self.most = self.visits = 0

    def enter(self) -> None:
        with self._lock:
            self.inside += 1
            self.visits += 1
            self.most = max(self.most, self.inside)
            if self.inside == SLOTS and not self.locked:
                self._door.set()

    def open(self) -> None:
        self._door.set()

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1

    def visit(self) -> None:
        """For threads: stay until the door opens."""
        self.enter()
        try:
            assert self._door.wait(DEADLINE_S)
        finally:
            self.leave()

    async def visit_async(self) -> None:
        """For event loops."""
        self.enter()
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not self._door.is_set():
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0)
        finally:
            self.leave()


@contextmanager
def asgi_server(app: Any) -> Iterator[str]:
    """Serve an ASGI application by uvicorn; the address without its scheme."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, log_level="critical", ws="websockets-sansio", timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive(), "the server has started")
            assert server.started
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class _Threading(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = False


@contextmanager
def wsgiref_server(app: Any) -> Iterator[str]:
    """Serve a WSGI application by the standard library, a thread for each request."""
    server = _Threading(("127.0.0.1", 0), _Quiet)
    server.set_app(app)
    with server, _serving(server):
        yield f"127.0.0.1:{server.server_port}"


@contextmanager
def werkzeug_server(app: Any) -> Iterator[str]:
    """Serve a WSGI application by werkzeug, a thread for each request."""
    from werkzeug.serving import WSGIRequestHandler as Handler

    class Silent(Handler):
        def log(self, *_: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    try:
        with _serving(server):
            yield f"127.0.0.1:{server.server_port}"
    finally:
        server.server_close()


@contextmanager
def _serving(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


class HalfReader:
    """A client that reads the beginning of an answer, and then hangs up without a word."""

    def __init__(self, address: str, path: str, tenant: str = "acme") -> None:
        host, _, port = address.partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
        head = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nX-Tenant: {tenant}\r\n\r\n"
        self._socket.sendall(head.encode())
        self.beginning = b""
        while b"part" not in self.beginning:
            read = self._socket.recv(4096)
            assert read, self.beginning
            self.beginning += read

    def hang_up(self) -> None:
        # A reset, as by a process that was killed.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()
