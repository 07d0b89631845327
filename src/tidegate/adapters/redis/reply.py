"""The language of the wire: packing commands, reading replies, and a server's refusal.

A reply is what RESP2 makes of it: bytes, int, None, or a list of such. A refusal inside a list
stays there as a value; one that is a whole reply is raised by the wires.

Source: https://valkey.io/topics/protocol/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.errors import ExtraMissing

try:
    import hiredis
except ImportError:
    raise ExtraMissing("redis") from None

Arg = bytes | str | int
"""One word of a command; text goes as UTF-8, numbers in decimal. A bool is refused."""

MORE: Final = object()
"""What a reader returns while the next reply is not whole."""

BrokenReply = hiredis.ProtocolError
"""What came is no reply. The stream cannot be trusted any more."""


class ServerError(Exception):
    """The server refused a command. `kind` is its first word: NOSCRIPT, MOVED, OOM, LOADING."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind, self.message = kind, message

    def __str__(self) -> str:
        return f"{self.kind} {self.message}".rstrip()


def reader() -> hiredis.Reader:
    """Return a parser of one connection's replies."""
    return hiredis.Reader(replyError=_refusal, notEnoughData=MORE)


# The library's own description of the argument says a tuple of one word.
_pack = cast("Callable[[tuple[Arg, ...]], bytes]", hiredis.pack_command)


def pack(args: tuple[Arg, ...]) -> bytes:
    """Return a command as it goes over the wire.

    Raises:
        TypeError: an argument is none of bytes, str, int.
        UnicodeEncodeError: a text holds half a character.
    """
    # An empty command gets no answer, and every later one would get its predecessor's.
    assert args, "a command has a name"
    return _pack(args)


def greeting(endpoint: Endpoint) -> list[tuple[Arg, ...]]:
    """Return what is said first on a connection. The replies are for `introduction`."""
    hello: tuple[Arg, ...] = ("HELLO", 2)
    if endpoint.password:
        hello += ("AUTH", endpoint.user or "default", endpoint.password)
    commands = [(*hello, "SETNAME", "tidegate")]
    if endpoint.db:
        commands.append(("SELECT", endpoint.db))
    return commands


def introduction(replies: list[Any]) -> dict[str, str]:
    """Return what the server said of itself: server, version, mode, role.

    Raises:
        ServerError: it refused the password, the user or the database.
        BrokenReply: this is no server of ours.
    """
    for reply in replies:
        if isinstance(reply, ServerError):
            raise reply
    if not isinstance(replies[0], list) or len(replies[0]) % 2:
        raise BrokenReply
    words = [_text(word) for word in replies[0]]
    return dict(zip(words[::2], words[1::2], strict=True))


def _text(word: Any) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)


def _refusal(text: str) -> ServerError:
    kind, _, message = text.partition(" ")
    return ServerError(kind, message)
