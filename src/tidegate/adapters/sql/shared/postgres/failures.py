"""What the server and the network report, as sentences that an operator can act on.

The SQLSTATE decides where there is one. When a connection is refused there is none, only the
server's text, which may be in any language: what is not recognised counts as worth a retry.

Source: PostgreSQL documentation, appendix A.
"""

from __future__ import annotations

from tidegate.adapters.sql.shared.postgres.link import LinkLost, ServerError
from tidegate.errors import InvalidSetting, StoreUnavailable, TidegateError

RACED = {"22012", "23505"}
"""A row was not there any more that was just read, or the other way round; see `saving`."""

_NEVER = {
    "42501": "a user who may create and change its tables",
    "3F000": "a schema to create its tables in: see search_path",
    "28P01": "the password of that user",
    "28000": "a user who may log in",
    "3D000": "a database that exists",
}
_SAID_FOR_GOOD = {
    "FATAL:  password authentication failed": "the password of that user",
    "no password supplied": "a password",
    "is not permitted to log in": "a user who may log in",
    "FATAL:  no pg_hba.conf entry": "a user and host that pg_hba.conf lets in",
    "FATAL:  database": "a database that exists",
    "FATAL:  role": "a user that exists",
    "server does not support SSL": "sslmode=disable, or a server that speaks TLS",
    "certificate verify failed": "a server whose certificate sslrootcert vouches for",
    "root certificate file": "a sslrootcert that can be read",
}
_SENTENCES = {
    "25006": "it takes no writes: is it a replica?",
    "53100": "its disk is full",
    "53200": "it is out of memory, or of locks: see max_locks_per_transaction",
    "53300": "it has too many connections",
    "55P03": "rows stay locked for too long",
    "57014": "no answer in time",
    "57P01": "it is shutting down",
    "57P02": "it is restarting after a crash",
    "57P03": "it is starting up",
    "42P01": "its tables were dropped",
}


def connecting(error: ServerError | LinkLost, name: str) -> TidegateError:
    """Return why there is no connection: for now, or for good."""
    if isinstance(error, ServerError):
        if error.state in _NEVER:
            return InvalidSetting("store_url", name, f"{_NEVER[error.state]}: {error}")
        return unavailable(error, name)
    said = str(error)
    for text, allowed in _SAID_FOR_GOOD.items():
        if text in said and "is not currently accepting connections" not in said:
            return InvalidSetting("store_url", name, allowed)
    return unavailable(error, name)


def unavailable(error: ServerError | LinkLost, name: str) -> StoreUnavailable:
    """Return what the caller of a port should see."""
    sentence = str(error)
    if isinstance(error, ServerError):
        sentence = _SENTENCES.get(error.state, f"{error} (SQLSTATE {error.state})")
    return StoreUnavailable(f"the store at {name}: {' '.join(sentence.split())}")
