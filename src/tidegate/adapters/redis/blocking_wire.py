"""One thin connection to a Redis or Valkey, for threads.

What `AsyncWire` is on an event loop, by the same rules: nothing is sent twice, and a call without
an answer costs the connection. One thread at a time asks and is answered; the others wait for
it no longer than for a server.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.failures import sentence, unavailable
from tidegate.adapters.redis.reply import (
    MORE,
    Arg,
    BrokenReply,
    ServerError,
    greeting,
    introduction,
    pack,
    reader,
)

_RECEIVE_BYTES = 65_536
_ON_TIME = 0.9
"""While this share of the deadline is left, the socket's own timeout is near enough."""


class BlockingWire:
    """A connection that is made, lost, and made again. Commands have exactly one reply each.

    Args:
        endpoint: The server.
        bounds: When to give up. The deadline holds for all replies of one `call_many` together.

    Raises:
        InvalidSetting: a file that TLS needs cannot be read.
    """

    def __init__(self, endpoint: Endpoint, bounds: Bounds | None = None) -> None:
        self.endpoint = endpoint
        self.server: dict[str, str] = {}
        """What the server said of itself when it was connected: server, version, mode, role."""
        bounds = bounds or Bounds()
        self._deadline_s = bounds.deadline_us / 1e6
        self._connect_timeout_s = bounds.connect_timeout_us / 1e6
        self._tls = endpoint.tls.context() if endpoint.tls else None
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._reader = reader()
        self._owner = 0

    @property
    def connected(self) -> bool:
        """Whether calls can be made. A server that went away is noticed by the next call."""
        return self._socket is not None and self._owner == os.getpid()

    def connect(self) -> None:
        """Make the connection, unless it is there.

        Raises:
            StoreUnavailable: it cannot be made. A retry may help.
            ServerError: the server refused the password, the user or the database.
        """
        with self._lock:
            if self.connected:
                return
            # After a fork the parent's connection is the parent's: this closes our copy alone.
            self._drop()
            self._reader, self._owner = reader(), os.getpid()
            calls = greeting(self.endpoint)
            try:
                connection = self._dial()
                data = b"".join(map(pack, calls))
                replies = self._exchange(connection, data, len(calls), self._connect_timeout_s)
                self.server = introduction(replies)
                connection.settimeout(self._deadline_s)
            except BaseException as error:
                self._fail(error)

    def call(self, *args: Arg) -> Any:
        """Return the reply to a command.

        Raises:
            ServerError: the server refused it; nothing was done.
            StoreUnavailable: no connection, or no reply within the deadline: outcome unknown.
        """
        reply = self._call(pack(args), 1)[0]
        if type(reply) is ServerError:
            raise reply
        return reply

    def call_many(self, calls: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """Send all commands at once; return all replies, a refusal as a `ServerError` among them.

        Raises:
            StoreUnavailable: no connection, or not all replies within the deadline. Which of the
                commands were done is unknown.
        """
        return self._call(b"".join(map(pack, calls)), len(calls))

    def close(self) -> None:
        """Let go of the socket, after the call that another thread is in. Idempotent."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, data: bytes, count: int) -> list[Any]:
        if not self._lock.acquire(timeout=self._deadline_s):
            raise unavailable(self.endpoint, "too many threads wait")
        try:
            if self._socket is None or self._owner != os.getpid():
                raise unavailable(self.endpoint, "not connected")
            try:
                return self._exchange(self._socket, data, count, self._deadline_s)
            except BaseException as error:
                self._fail(error)
        finally:
            self._lock.release()

    def _dial(self) -> socket.socket:
        node, timeout_s = self.endpoint.node, self._connect_timeout_s
        if node.path:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(timeout_s)
            self._socket.connect(node.path)
            return self._socket
        self._socket = socket.create_connection((node.host, node.port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self._socket = self._tls.wrap_socket(self._socket, server_hostname=node.host)
        return self._socket

    def _exchange(
        self, connection: socket.socket, data: bytes, count: int, within_s: float
    ) -> list[Any]:
        """Send, and receive so many replies. The socket's timeout is `within_s`, and stays so."""
        end_s = time.monotonic() + within_s
        connection.sendall(data)
        replies: list[Any] = []
        shortened = False
        while len(replies) < count:
            reply = self._reader.gets()
            if reply is not MORE:
                replies.append(reply)
                continue
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            if left_s < _ON_TIME * within_s:
                connection.settimeout(left_s)
                shortened = True
            received = connection.recv(_RECEIVE_BYTES)
            if not received:
                raise EOFError
            self._reader.feed(received)
        if self._reader.has_data():
            raise BrokenReply
        if shortened:
            connection.settimeout(within_s)
        return replies

    def _drop(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _fail(self, error: BaseException) -> NoReturn:
        """Drop the connection, whatever it was: the next reply on it might be an earlier one's."""
        self._drop()
        if isinstance(error, OSError | UnicodeError | EOFError | BrokenReply):
            raise unavailable(self.endpoint, sentence(error)) from error
        raise error
