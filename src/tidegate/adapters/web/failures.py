"""What went wrong on the way out, told so that the person who asked understands it.

The guard's own log decides what was refused: statuses and headers can be sent by anybody.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from tidegate.adapters.web.client import Answer, BrokenOff, TunnelDenied
from tidegate.domain.target import Target
from tidegate.errors import EgressRefused, UpstreamFailed, WorkFailed
from tidegate.ports.egress_guard import MARKER, Refusal


def verdict_of_guard(target: Target, answer: Answer, refusals: Sequence[Refusal]) -> None:
    """Raise if the answer to a plain http request is the guard's and not the server's.

    Args:
        target: What was asked for.
        answer: What came back.
        refusals: What the guard refused since the request was sent.

    Raises:
        EgressRefused: the address may not be reached, or the passage is closed.
        UpstreamFailed: the guard got no connection.
    """
    if refusals:
        raise EgressRefused(target.url, refusals[-1].reason)
    # Over https the marker may be the server's own; over http the guard lets none through.
    if target.scheme == "http" and answer.header(MARKER.encode()):
        raise _denied(target, answer.status, answer.reason)


def explain(target: Target, error: Exception, refusals: Sequence[Refusal]) -> WorkFailed:
    """Turn an error of the connection into ours.

    Args:
        target: What was asked for.
        error: What `client.get` raised.
        refusals: What the guard refused since the request was sent.
    """
    if refusals:
        return EgressRefused(target.url, refusals[-1].reason)
    host = target.host
    match error:
        case TunnelDenied():
            return _denied(target, error.status, error.reason)
        case ssl.SSLCertVerificationError():
            problem = f"the certificate of {host} is not trusted: {error.verify_message}"
        case ssl.SSLError():
            reason = (error.reason or "unknown error").replace("_", " ").lower()
            problem = f"no TLS connection with {host}: {reason}"
        case BrokenOff() | OSError():
            problem = f"{host} broke off the connection"
        case _:
            problem = f"{host} does not speak HTTP"
    return UpstreamFailed(problem)


def _denied(target: Target, status: int, reason: str) -> WorkFailed:
    if status == 407:
        return EgressRefused(target.url, "the passage is closed")
    if status == 403:
        # The passage remembers its first refusals only; this one came after those.
        return EgressRefused(target.url, reason)
    return UpstreamFailed(f"{target.host} could not be reached: {reason}")
