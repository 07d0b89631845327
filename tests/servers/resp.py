"""Asking a Redis or Valkey server something, over a connection made for the one question."""

from __future__ import annotations

import socket
from typing import Any

import hiredis

_ANSWER_S = 10.0
_RECEIVE_BYTES = 65_536


def ask(port: int, *words: str | bytes | int, password: str = "") -> Any:
    """Return the answer of a server on this machine.

    Raises:
        OSError: it does not answer.
        hiredis.ReplyError: it refuses; the reply says why.
    """
    reader = hiredis.Reader(notEnoughData=...)
    commands = [("AUTH", password)] if password else []
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
        for command in (*commands, words):
            # The library's stub says a tuple of one word.
            connection.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]
            reply = ...
            while (reply := reader.gets()) is ...:
                received = connection.recv(_RECEIVE_BYTES)
                if not received:
                    raise ConnectionResetError("the server closed the connection")
                reader.feed(received)
            if isinstance(reply, hiredis.ReplyError):
                raise reply
    return reply
