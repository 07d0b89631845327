"""Words of the wire: what is said first, what is made of the answer, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tidegate.adapters.redis.endpoint import Endpoint, Node
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

NODE = Node(host="h", port=1)


@pytest.mark.parametrize(
    ("endpoint", "commands"),
    [
        (Endpoint(node=NODE), [("HELLO", 2, "SETNAME", "tidegate")]),
        (
            Endpoint(node=NODE, password="x", db=3),
            [("HELLO", 2, "AUTH", "default", "x", "SETNAME", "tidegate"), ("SELECT", 3)],
        ),
        (
            Endpoint(node=NODE, user="ann", password="x"),
            [("HELLO", 2, "AUTH", "ann", "x", "SETNAME", "tidegate")],
        ),
    ],
)
def test_the_greeting(endpoint: Endpoint, commands: list[tuple[Arg, ...]]) -> None:
    assert greeting(endpoint) == commands


def test_the_introduction_is_read() -> None:
    replies = [[b"server", b"valkey", b"proto", 2, b"odd", b"\xff"], b"OK"]
    assert introduction(replies) == {"server": "valkey", "proto": "2", "odd": "\ufffd"}


@pytest.mark.parametrize("reply", [b"OK", None, 1, [b"server"]])
def test_another_kind_of_server_is_noticed(reply: Any) -> None:
    with pytest.raises(BrokenReply):
        introduction([reply])


def test_the_first_refusal_is_raised() -> None:
    refusals = [ServerError("WRONGPASS", "no"), ServerError("NOAUTH", "no")]
    with pytest.raises(ServerError, match=r"^WRONGPASS no$"):
        introduction(refusals)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "MOVED", "3999 127.0.0.1:6381"),
        (b"-ODD\r\n", "ODD", ""),
        (b"-ERR \xff\r\n", "ERR", "\ufffd"),
    ],
)
def test_a_refusal_has_a_kind(line: bytes, kind: str, message: str) -> None:
    parser = reader()
    parser.feed(line[:3])
    assert parser.gets() is MORE
    parser.feed(line[3:])
    refusal = parser.gets()
    assert (type(refusal), refusal.kind, refusal.message) == (ServerError, kind, message)
    assert str(refusal) == f"{kind} {message}".rstrip()


def test_words_cannot_break_out_of_a_command() -> None:
    assert pack(("SET", b"a\r\nFLUSHALL\r\n", -5)) == (
        b"*3\r\n$3\r\nSET\r\n$13\r\na\r\nFLUSHALL\r\n\r\n$2\r\n-5\r\n"
    )


def test_a_command_has_a_name() -> None:
    with pytest.raises(AssertionError):
        pack(())


def test_without_the_library_the_extra_is_named() -> None:
    code = "import sys; sys.modules['hiredis'] = None; import tidegate.adapters.redis.wire"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ExtraMissing: this needs an optional part: pip install 'tidegate[redis]'" in done.stderr
