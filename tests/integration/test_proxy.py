"""The proxy of the tests disturbs in exactly the ways it says, against a real server."""

from __future__ import annotations

import socket
import time

import pytest

from tests.servers.proxy import Proxy

pytestmark = pytest.mark.needs("valkey_own")
pytest_plugins = ["tests.servers.fixtures"]

SOON_S = 30.0
PONG = b"+PONG\r\n"


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=SOON_S)


def pinged(connection: socket.socket, times: int = 1) -> bytes:
    """Ask `times` times at once, and return what comes until all is there or the stream ends."""
    connection.sendall(b"PING\r\n" * times)
    return received(connection, len(PONG) * times)


def received(connection: socket.socket, size_bytes: int) -> bytes:
    found = b""
    while len(found) < size_bytes and (more := connection.recv(65_536)):
        found += more
    return found


def test_it_relays_and_delays_whole_streams(valkey_proxy: Proxy) -> None:
    with connect(valkey_proxy) as connection:
        assert pinged(connection, 3) == PONG * 3
        valkey_proxy.delay(0.05)
        started_s = time.monotonic()
        assert pinged(connection, 1000) == PONG * 1000
        took_s = time.monotonic() - started_s
        assert 0.1 <= took_s < 5.0
        valkey_proxy.delay(0.0)
        assert (valkey_proxy.connections, valkey_proxy.accepted) == (1, 1)


def test_it_stalls_one_way_and_resumes_in_order(valkey_proxy: Proxy) -> None:
    with connect(valkey_proxy) as connection:
        assert pinged(connection) == PONG
        valkey_proxy.stall("down")
        connection.sendall(b"PING\r\nPING there\r\n")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(SOON_S)
        valkey_proxy.resume()
        assert received(connection, 18) == PONG + b"$5\r\nthere\r\n"


def test_it_cuts_within_an_answer_once(valkey_proxy: Proxy) -> None:
    valkey_proxy.cut_after(len(PONG) + 3)
    with connect(valkey_proxy) as connection:
        assert pinged(connection, 2) == PONG + PONG[:3]
    with connect(valkey_proxy) as connection:
        assert pinged(connection, 2) == PONG * 2


def test_it_resets(valkey_proxy: Proxy) -> None:
    with connect(valkey_proxy) as connection:
        assert pinged(connection) == PONG
        valkey_proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert valkey_proxy.connections == 0


def test_it_refuses_new_connections_and_keeps_the_old(valkey_proxy: Proxy) -> None:
    with connect(valkey_proxy) as connection:
        assert pinged(connection) == PONG
        valkey_proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(valkey_proxy)
        assert pinged(connection) == PONG
        valkey_proxy.accept()
        with connect(valkey_proxy) as another:
            assert pinged(another) == PONG


def test_half_closed_it_still_sends_the_other_way(valkey_proxy: Proxy) -> None:
    with connect(valkey_proxy) as connection:
        assert pinged(connection) == PONG
        valkey_proxy.half_close("down")
        assert connection.recv(1) == b""
        with connect(valkey_proxy) as another:
            connection.sendall(b"SET key value\r\n")
            end_s = time.monotonic() + SOON_S
            answer = b""
            while answer != b"$5\r\n" and time.monotonic() < end_s:
                another.sendall(b"GET key\r\n")
                answer = another.recv(65_536)[:4]
            assert answer == b"$5\r\n"
