"""The wire of threads against a real server, and through a proxy that breaks it."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.redis_wires import PATIENT, PEM, SHORT, SHORT_US, at
from tests.servers.proxy import Proxy
from tests.servers.valkey import Valkey
from tidegate.adapters.redis.blocking_wire import BlockingWire
from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint, Node
from tidegate.adapters.redis.reply import ServerError
from tidegate.adapters.redis.tls import Tls
from tidegate.errors import StoreUnavailable

pytestmark = pytest.mark.needs("valkey_own")
pytest_plugins = ["tests.servers.fixtures"]


def wire_to(port: int, bounds: Bounds = PATIENT, **settings: Any) -> BlockingWire:
    return BlockingWire(replace(at(port), **settings), bounds)


def test_replies_and_refusals(redis_endpoint: Endpoint) -> None:
    with BlockingWire(redis_endpoint, PATIENT) as wire:
        assert wire.server["role"] == "master"
        assert wire.call("SET", "key", b"\x00\r\n\xff") == b"OK"
        with pytest.raises(ServerError, match="NOSCRIPT No matching script"):
            wire.call("EVALSHA", "0" * 40, 0)
        with pytest.raises(TypeError):
            wire.call("ECHO", True)
        assert wire.call_many([]) == []
        first, refused, last = wire.call_many([("GET", "key"), ("INCR", "key"), ("STRLEN", "key")])
        assert (first, refused.kind, last) == (b"\x00\r\n\xff", "ERR", 4)
        big = b"x" * (5 * 2**20)
        assert wire.call_many([("ECHO", big)] * 8) == [big] * 8


def test_threads_get_their_own_replies(redis_endpoint: Endpoint) -> None:
    with BlockingWire(redis_endpoint, PATIENT) as wire:

        def ask(number: int) -> bool:
            return all(
                wire.call("ECHO", number + n) == str(number + n).encode() for n in range(100)
            )

        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(ask, range(0, 16_000, 1000)))


def test_a_wrong_password_is_refused() -> None:
    with Valkey(password="open sesame") as server:
        with pytest.raises(ServerError) as caught:
            wire_to(server.port, password="open barley").connect()
        assert (caught.value.kind, "barley" in str(caught.value)) == ("WRONGPASS", False)
        with wire_to(server.port, password="open sesame", db=3) as wire:
            assert b" db=3 " in wire.call("CLIENT", "LIST", "ID", wire.server["id"])


def test_a_unix_socket_will_do(own_valkey: Valkey) -> None:
    with BlockingWire(Endpoint(node=Node(path=own_valkey.socket_path))) as wire:
        assert wire.call("PING") == b"PONG"


def test_a_cut_within_a_reply_costs_the_connection(valkey_proxy: Proxy) -> None:
    with wire_to(valkey_proxy.port) as wire:
        valkey_proxy.cut_after(len(b"$4\r\nfour\r\n") + 5)
        with pytest.raises(StoreUnavailable, match="the server closed the connection"):
            wire.call_many([("ECHO", "four")] * 3)
        assert not wire.connected
        with pytest.raises(StoreUnavailable, match="not connected"):
            wire.call("PING")
        wire.connect()
        assert wire.call("ECHO", "again") == b"again"


def test_a_silent_server_costs_the_connection_at_the_deadline(valkey_proxy: Proxy) -> None:
    with wire_to(valkey_proxy.port, SHORT) as wire:
        assert wire.call("PING") == b"PONG"
        valkey_proxy.stall("down")
        started_s = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            wire.call("PING")
        assert SHORT_US / 1e6 <= time.monotonic() - started_s < 5
        valkey_proxy.resume()
        wire.connect()
        # Not the late answer to the earlier call.
        assert wire.call("ECHO", "own") == b"own"


def test_a_trickling_server_does_not_stretch_the_deadline() -> None:
    ended = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n")
            connection.recv(1000)
            connection.sendall(b"$1000000\r\n")
            while not ended.wait(SHORT_US / 1e7):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        serving = threads.submit(trickle, listener)
        with wire_to(listener.getsockname()[1], SHORT) as wire:
            started_s = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                wire.call("PING")
            assert SHORT_US / 1e6 <= time.monotonic() - started_s < 5
        ended.set()
        # It may have found the connection closed.
        assert serving.exception() is None or isinstance(serving.exception(), OSError)


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*0\r\n" * 9])
def test_nonsense_costs_the_connection(nonsense: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        wire = wire_to(listener.getsockname()[1])
        connecting = threads.submit(wire.connect)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(nonsense)
            with pytest.raises(StoreUnavailable, match="makes no sense"):
                connecting.result()


def test_threads_wait_for_each_other_no_longer_than_for_a_server(valkey_proxy: Proxy) -> None:
    with wire_to(valkey_proxy.port, SHORT) as wire:
        wire.call("PING")
        valkey_proxy.delay(0.6 * SHORT_US / 1e6, "down")

        def ask(_: int) -> str:
            try:
                return str(wire.call("PING"))
            except StoreUnavailable as error:
                return str(error).rpartition(": ")[2]

        started_s = time.monotonic()
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(ask, range(6)))
        assert time.monotonic() - started_s < 5
        assert "too many threads wait" in answers


def test_a_killed_server_is_found_again(own_valkey: Valkey) -> None:
    with wire_to(own_valkey.port) as wire:
        wire.call("SET", "key", "kept")
        own_valkey.kill()
        with pytest.raises(StoreUnavailable):
            wire.call("GET", "key")
        with pytest.raises(StoreUnavailable, match="connection refused"):
            wire.connect()
        own_valkey.restart()
        wire.connect()
        assert wire.call("GET", "key") == b"kept"


def test_an_interrupted_call_costs_the_connection(valkey_proxy: Proxy) -> None:
    """What Ctrl-C leaves half done would answer the next call."""
    with wire_to(valkey_proxy.port) as wire:
        valkey_proxy.stall("down")
        interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            wire.call("PING")
        interrupt.join()
        assert not wire.connected


FORK = """
import os, sys
from tidegate.adapters.redis.address import parse_address
from tidegate.adapters.redis.blocking_wire import BlockingWire
from tidegate.errors import StoreUnavailable
with BlockingWire(parse_address(sys.argv[1]).endpoint()) as wire:
    child = os.fork()
    if child == 0:
        assert not wire.connected
        try:
            wire.call("PING")
        except StoreUnavailable:
            wire.connect()
            assert wire.call("ECHO", "child") == b"child"
        else:
            os._exit(1)
    else:
        assert os.waitpid(child, 0)[1] == 0
        assert wire.call("ECHO", "parent") == b"parent"
"""


def test_a_forked_child_has_no_part_in_the_connection(redis_url: str) -> None:
    command = [sys.executable, "-c", FORK, redis_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_tls(own_valkey: Valkey) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    with Proxy(own_valkey.port, tls=context) as proxy:
        with wire_to(proxy.port, tls=Tls(ca_file=PEM)) as wire:
            assert wire.call_many([("ECHO", n) for n in range(1000)])[-1] == b"999"
        with pytest.raises(StoreUnavailable, match="its certificate is not trusted"):
            wire_to(proxy.port, tls=Tls()).connect()
        proxy.stall()
        hurried = Bounds(connect_timeout_us=SHORT_US)
        silent = wire_to(proxy.port, hurried, tls=Tls(verify=False))
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            silent.connect()
