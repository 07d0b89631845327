"""Structured logs on standard error: one JSON object a line, or plain text on a terminal."""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

import structlog

KEY = re.compile(r"(tga?_)[A-Za-z0-9_-]{16,}")
"""Keys as we make them. None is logged on purpose, but a caller may put one into a path."""


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Takes keys out of finished lines, whatever part of them they are in."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, or several with a traceback."""
        return KEY.sub(r"\1…", super().format(record))


def configure(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send every log of the process through one formatter. Again: to another stream or level.

    Request id and tenant are bound to the context of each request, so lines of libraries that
    log while it is served carry them too.
    """
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # A stream that is closed is None; its log goes nowhere.
    handler = logging.StreamHandler(stream) if stream is not None else logging.NullHandler()
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_for_people() if stream is not None and stream.isatty() else _for_programs()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # What it says at this level, we say ourselves or do not need at each request.
    for noisy in ("uvicorn", "uvicorn.error", "httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _for_programs() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _for_people() -> list[structlog.typing.Processor]:
    """Short lines: the time of day, what happened, its facts. Ids are for programs."""
    # The default shows local variables with each traceback, and keys are among them.
    plain = structlog.dev.plain_traceback
    return [
        _shorten,
        structlog.dev.ConsoleRenderer(colors=True, pad_event_to=0, exception_formatter=plain),
    ]


def _shorten(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event["timestamp"] = str(event.get("timestamp", ""))[11:19]
    if event.get("level") == "info":
        event.pop("logger", None)
        event.pop("request_id", None)
    # A path may hold what commands a terminal.
    return {name: _printable(value) for name, value in event.items()}


def _printable(value: object) -> object:
    if isinstance(value, str) and not value.replace("\n", "").isprintable():
        return ascii(value)
    return value
