"""How a connection is used: what every transaction begins with.

A client that stops in the middle of a transaction must not hold up everybody, and a server process
whose client gave up must not wait for locks any longer; so both have an end. Plans by index, since
the tables grow from nothing faster than their statistics do.

Behind a pooler a session belongs to nobody for longer than a transaction: settings are made anew in
each, and statements are not prepared.
"""

from __future__ import annotations

from tidegate.adapters.sql.shared.postgres import loading, saving
from tidegate.adapters.sql.shared.postgres.link import Call, Link, Statement
from tidegate.adapters.sql.shared.postgres.schema import Server


def terms(link: Link, server: Server, timeout_s: float, end_s: float) -> list[Call]:
    """Set up a connection; return the calls that begin a transaction on it."""
    limit = b"%d" % max(1, round(timeout_s * 1000))
    settings = {
        b"statement_timeout": limit,
        b"idle_in_transaction_session_timeout": limit,
        b"enable_seqscan": b"off",
        b"jit": b"off",
    }
    begin: list[Call] = [(loading.BEGIN, ())]
    if server.pooled:
        return [*begin, (_set(settings, b"true"), ())]
    link.run([(_set(settings, b"false"), ())], end_s)
    link.prepare([*loading.STATEMENTS, *saving.STATEMENTS], end_s)
    return begin


def _set(settings: dict[bytes, bytes], local: bytes) -> Statement:
    calls = [
        b"set_config('%s', '%s', %s)" % (name, value, local) for name, value in settings.items()
    ]
    return Statement(b"", b"SELECT " + b", ".join(calls))
