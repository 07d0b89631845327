"""What went wrong on the way out, told so that the person who asked understands it.

The guard's own log decides what was refused: statuses and headers can be sent by anybody.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence

import httpx

from tidegate.domain.target import Target
from tidegate.errors import EgressRefused, UpstreamFailed, WorkFailed
from tidegate.ports.egress_guard import Refusal

MARKER = "x-tidegate-egress"


def verdict_of_guard(target: Target, response: httpx.Response, refusals: Sequence[Refusal]) -> None:
    """Raise if the answer to a plain http request is the guard's and not the server's.

    Args:
        target: What was asked for.
        response: The head of the answer.
        refusals: What the guard refused since the request was sent.

    Raises:
        EgressRefused: the address may not be reached, or the passage is closed.
        UpstreamFailed: the guard got no connection.
    """
    if refusals:
        raise EgressRefused(target.url, refusals[-1].reason)
    # Over https the marker may be the server's own; over http the guard lets none through.
    marker = response.headers.get(MARKER) if target.scheme == "http" else None
    if marker == "unknown":
        raise EgressRefused(target.url, "the passage is closed")
    if marker is not None:
        reason = response.extensions.get("reason_phrase", b"").decode("ascii", "replace")
        raise UpstreamFailed(f"{target.host} could not be reached: {reason}")


def explain(target: Target, error: httpx.HTTPError, refusals: Sequence[Refusal]) -> WorkFailed:
    """Turn an error of the client library into ours.

    Args:
        target: What was asked for.
        error: What httpx said.
        refusals: What the guard refused since the request was sent.
    """
    if refusals:
        return EgressRefused(target.url, refusals[-1].reason)
    if isinstance(error, httpx.ProxyError):
        status, _, reason = str(error).partition(" ")
        if status == "407":
            return EgressRefused(target.url, "the passage is closed")
        return UpstreamFailed(f"{target.host} could not be reached: {reason}")
    return UpstreamFailed(_sentence(target.host, error))


def _sentence(host: str, error: httpx.HTTPError) -> str:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {host} is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            problem = (cause.reason or "unknown error").replace("_", " ").lower()
            return f"no TLS connection with {host}: {problem}"
    if isinstance(error, httpx.ConnectError):
        return f"{host} broke off while the connection was made"
    return f"{host} broke off its answer or does not speak HTTP"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
