"""How a connection is used: what every transaction begins with.

A client that stops in the middle of a transaction must not hold up everybody, and a server process
whose client gave up must not wait for locks any longer; so both have an end. Plans by index, since
the tables grow from nothing faster than their statistics do; and one for each statement, made once.

A transaction commits without waiting for the disk, and so lets go of its locks at once; then a tiny
one follows that does wait, as long as this server has its commits wait. What it makes durable is
everything before it, so nothing is answered that could be lost, and those who wait for the same
rows share one flush of the disk instead of queueing up for one each.

Behind a pooler a session belongs to nobody for longer than a transaction: settings are made anew in
each, and statements are not prepared.
"""

from __future__ import annotations

from tidegate.adapters.sql.shared.postgres import loading, locks, saving
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
        b"plan_cache_mode": b"force_generic_plan",
    }
    quick = {b"synchronous_commit": b"off"}
    if server.pooled:
        return [(loading.BEGIN, ()), (_set(b"", settings | quick, local=True), ())]
    quickly = _set(b"tg_quick", quick, local=True)
    link.run([(_set(b"", settings, local=False), ())], end_s)
    prepared = (quickly, *locks.STATEMENTS, *loading.STATEMENTS, *saving.STATEMENTS)
    link.prepare(prepared, end_s)
    return [(loading.BEGIN, ()), (quickly, ())]


def _set(name: bytes, settings: dict[bytes, bytes], *, local: bool) -> Statement:
    end = b"true" if local else b"false"
    calls = [b"set_config('%s', '%s', %s)" % (key, value, end) for key, value in settings.items()]
    return Statement(name, b"SELECT " + b", ".join(calls))
