"""Log lines: for programs, for people, without keys and without commands for a terminal."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tidegate.entrypoints import logs

KEY = "tga_abcdefghijklmnopqrstuvwxyz0123456789_-AB"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_an_object_and_says_whose_request_it_is() -> None:
    stream = io.StringIO()
    logs.configure(stream)
    with structlog.contextvars.bound_contextvars(request_id="r1", tenant="acme"):
        structlog.get_logger("ours").info("request", status=200, path="/a\n\x1b[2J")
        logging.getLogger("theirs").warning("%d of %d", 1, 2, extra={"pool": "pdf"})
    try:
        json.loads("inside")
    except ValueError:
        logging.getLogger("theirs").exception("failed")
    ours, theirs, failed = lines(stream)
    assert {"request_id": "r1", "tenant": "acme", "level": "info", "logger": "ours"}.items() <= (
        ours.items()
    )
    assert (ours["event"], ours["status"], ours["path"]) == ("request", 200, "/a\n\x1b[2J")
    assert (theirs["event"], theirs["tenant"], theirs["pool"]) == ("1 of 2", "acme", "pdf")
    assert ours["timestamp"].endswith("Z")
    assert "tenant" not in failed
    assert "JSONDecodeError: Expecting value" in failed["exception"]


def test_it_can_be_configured_again() -> None:
    first, second = io.StringIO(), io.StringIO()
    log = structlog.get_logger("once.cached")
    for stream in (first, first, second):
        logs.configure(stream)
        log.info("said once")
    assert (len(lines(first)), len(lines(second))) == (2, 1)
    logs.configure(second, level=logging.ERROR)
    log.warning("too quiet")
    logging.getLogger("uvicorn").warning("too quiet")
    assert len(lines(second)) == 1
    logs.configure(second, level=logging.DEBUG)
    log.debug("heard again")
    assert lines(second)[-1]["event"] == "heard again"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["programs", "people"])
def test_no_key_gets_through(stream: io.StringIO) -> None:
    logs.configure(stream)
    log = structlog.get_logger("keys")
    tenant_key = KEY.replace("tga_", "tg_")
    log.info(f"with {KEY}", path=f"/v1/{tenant_key}", nested={"header": [f"Bearer {KEY}"]})
    logging.getLogger("theirs").warning("%s", tenant_key)
    try:
        int(KEY)
    except ValueError:
        log.exception("failed")
    written = stream.getvalue()
    assert "abcdefghijklmnop" not in written
    assert written.count("tga_…") >= 3
    assert written.count("tg_…") == 2


def test_people_get_short_lines() -> None:
    stream = Terminal()
    logs.configure(stream)
    with structlog.contextvars.bound_contextvars(request_id="r" * 24, tenant="acme"):
        log = structlog.get_logger("tidegate.http")
        log.info("request", method="POST", path="/v1/render", status=200, elapsed_s=0.2034)
        log.warning("odd", path="/\x1b]0;owned\x07\x9b2J")
    plain, odd = stream.getvalue().splitlines()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", plain)
    assert "tenant" in shown
    assert "request_id" not in shown
    assert len(shown) <= 100
    assert "r" * 24 in odd
    assert "\x07" not in odd
    assert "\x9b" not in odd
    assert "\x1b]" not in odd


def test_a_closed_standard_error_is_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    logs.configure()
    structlog.get_logger("nowhere").error("nobody hears this")
