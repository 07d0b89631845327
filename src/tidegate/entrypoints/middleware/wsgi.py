"""The gate around any WSGI application: Flask, Django, or a plain callable.

What a request holds is given back when the server closes the answer, which it does also when the
client has gone or the application has failed half-way.

Source: PEP 3333, on `close` and on `start_response`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.domain.lease import LEASE_S, Lease, Outcome
from tidegate.entrypoints.middleware.answer import Answer, Fields, invalid, refusal
from tidegate.entrypoints.middleware.door import Door
from tidegate.errors import InvalidRequest, LeaseLost
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.holding import outcome_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

_log = logging.getLogger(__name__)

Environ = dict[str, Any]


class AdmissionMiddlewareWSGI:
    """Admits each request before the application sees it, and answers refusals itself.

    A request that waits keeps its thread busy. Whoever ends the process calls `gate.close()`.

    Args:
        app: The application.
        gate: Decides.
        claim: Makes a claim of an environ; None lets the request pass. An InvalidRequest that it
            raises is answered with 422.
        timeout_s: How long a request may wait for capacities. Rates and quotas refuse at once.
        lease_s: After this long what is held comes back, should this process die.
        on_denied: Told of each refusal; a WSGI application it returns answers instead.
        legacy_headers: Also send the three `X-RateLimit-` fields.
        partition_keys: Also say `pk` in the fields; see `rate_limit_fields.limit_fields`.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        gate: AdmissionGate,
        claim: Callable[[Environ], Claim | None],
        timeout_s: float = 0.0,
        lease_s: float = LEASE_S,
        on_denied: Callable[[Environ, Denied], WSGIApplication | None] | None = None,
        legacy_headers: bool = False,
        partition_keys: bool = False,
    ) -> None:
        self._app, self._claim, self._on_denied = app, claim, on_denied
        self._door = Door(gate=gate, timeout_s=timeout_s, lease_s=lease_s)
        self._fields = Fields(legacy=legacy_headers, partition_keys=partition_keys)

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        with ExitStack() as stack:
            try:
                claim = self._claim(environ)
                decision = self._door.enter_sync(claim, stack) if claim is not None else None
            except InvalidRequest as error:
                return _say(invalid(error), environ, start)
            if decision is None:
                return self._app(environ, start)
            if isinstance(decision, Denied):
                return self._refuse(decision, environ, start)
            started = _Started(start, list(self._fields.told(decision.limits).items()))
            chunks = self._app(environ, started)
            return _Held(chunks, decision.lease, started, stack.pop_all())

    def _refuse(self, denied: Denied, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        own = self._on_denied(environ, denied) if self._on_denied else None
        if own is not None:
            return own(environ, start)
        return _say(refusal(denied, self._fields), environ, start)


class _Started:
    """A `start_response` that adds header fields and remembers the status."""

    def __init__(self, start: StartResponse, fields: list[tuple[str, str]]) -> None:
        self._start, self._fields = start, fields
        self.status = 0

    def __call__(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        self.status = int(status[:3])
        return self._start(status, [*headers, *self._fields], *exc_info)


class _Held:
    """An answer that gives back what is held when it is closed."""

    def __init__(
        self, chunks: Iterable[bytes], lease: Lease, started: _Started, stack: ExitStack
    ) -> None:
        self._chunks, self._lease, self._started, self._stack = chunks, lease, started, stack
        self._iterator: Iterator[bytes] | None = None
        self._outcome: Outcome = "cancelled"

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = iter(self._chunks)
            return next(self._iterator)
        except StopIteration:
            self._outcome = "failed" if self._started.status >= 500 else "success"
            raise
        except BaseException as error:
            self._outcome = outcome_of(type(error))
            raise

    def close(self) -> None:
        """Close the application's answer, and give back. Repeating it does nothing."""
        close = getattr(self._chunks, "close", None)
        self._chunks = ()
        try:
            if close is not None:
                close()
        finally:
            self._lease.release(self._outcome)
            try:
                self._stack.close()
            except LeaseLost as lost:
                _log.warning("%s while its answer was sent", lost)


def _say(answer: Answer, environ: Environ, start: StartResponse) -> list[bytes]:
    start(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]
