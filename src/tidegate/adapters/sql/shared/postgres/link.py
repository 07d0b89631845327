"""One connection to PostgreSQL, on which statements travel together, and with an end to patience.

On libpq itself: a pipeline of statements costs one wait for the server, and a server that freezes
costs no more than the deadline, since every wait has one. After a timeout or a loss the connection
is closed; what was under way may or may not have happened.

Source: PostgreSQL documentation, 34.5 (pipeline mode) and 34.4 (asynchronous processing).
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tidegate.errors import ExtraMissing, InvalidSetting

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

_BINARY = 1


class Statement(NamedTuple):
    """A statement whose parameters and results are binary, and the name it is prepared under."""

    name: bytes
    text: bytes


Call = tuple[Statement, Sequence[bytes | None]]


class ServerError(Exception):
    """The server refused a statement; the transaction is over."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state


class LinkLost(Exception):
    """There is no connection any more."""


def library() -> Any:
    """Return the client library. Raises ExtraMissing."""
    try:
        from psycopg import pq
    except ImportError as error:
        raise ExtraMissing("postgres") from error
    return pq


def parsed(url: str) -> dict[str, str]:
    """Return what a URL says, by libpq's names.

    Raises:
        InvalidSetting: it is none; it is not shown, since it holds a password.
        ExtraMissing: the client library is not installed.
    """
    library()
    from psycopg import Error
    from psycopg.conninfo import conninfo_to_dict

    allowed = "postgresql://user:password@host:port/database"
    try:
        known = conninfo_to_dict(url)
    except Error:
        raise InvalidSetting("store_url", "(hidden)", allowed) from None
    return {name: str(value) for name, value in known.items() if value is not None}


class Link:
    """A connection, made by `open`."""

    def __init__(self, connection: PGconn) -> None:
        self.connection = connection
        self._prepared: set[bytes] = set()
        self._fatal = library().ExecStatus.FATAL_ERROR

    @classmethod
    def open(cls, settings: dict[str, str], timeout_s: float) -> Link:
        """Connect to one host.

        Raises:
            LinkLost: it cannot be reached, or refused; with what the server said.
        """
        from psycopg.conninfo import make_conninfo

        pq = library()
        end_s = time.monotonic() + timeout_s
        connection: PGconn = pq.PGconn.connect_start(make_conninfo(**settings).encode())
        link = cls(connection)
        try:
            link._dial(pq, end_s)
            connection.nonblocking = 1
            connection.enter_pipeline_mode()
        except BaseException:
            link.close()
            raise
        return link

    @property
    def alive(self) -> bool:
        """Whether the connection is there, as far as it is known."""
        return bool(self.connection.status == library().ConnStatus.OK)

    def prepare(self, statements: Sequence[Statement], end_s: float) -> None:
        """Let the server read statements once for all calls; not through a pooler."""
        with self._losing():
            for statement in statements:
                self.connection.send_prepare(statement.name, statement.text)
            results = self._finish(len(statements), end_s)
        self._check(results)
        self._prepared.update(statement.name for statement in statements)

    def run(self, calls: Sequence[Call], end_s: float) -> list[PGresult]:
        """Send statements together, and return their results.

        Args:
            calls: What to do; after one that fails nothing else is done.
            end_s: When to give up, by the monotonic clock.

        Raises:
            ServerError: the server refused one of them.
            LinkLost: no answer in time, or no connection; it is closed.
        """
        with self._losing():
            for statement, parameters in calls:
                self._send(statement, parameters)
            results = self._finish(len(calls), end_s)
        self._check(results)
        return results

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.finish()

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Close the connection whatever goes wrong: what it answers next is not known."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, Exception) and not isinstance(error, LinkLost):
                raise LinkLost(_said(error)) from error
            raise

    def _send(self, statement: Statement, parameters: Sequence[bytes | None]) -> None:
        connection, binary = self.connection, (_BINARY,) * len(parameters)
        if statement.name in self._prepared:
            connection.send_query_prepared(statement.name, parameters, binary, _BINARY)
        else:
            connection.send_query_params(
                statement.text, parameters, None, binary, result_format=_BINARY
            )

    def _finish(self, count: int, end_s: float) -> list[PGresult]:
        """Send what is queued, and read so many results."""
        self.connection.pipeline_sync()
        self._flush(end_s)
        results = []
        for _ in range(count):
            results.append(self._result(end_s))
            self._result(end_s, expected=False)
        self._result(end_s)
        return results

    def _check(self, results: Sequence[PGresult]) -> None:
        """Raise what the server says of the first statement that it refused."""
        refused = next((result for result in results if result.status == self._fatal), None)
        if refused is None:
            return
        field = library().DiagnosticField
        state = (refused.error_field(field.SQLSTATE) or b"").decode()
        message = (refused.error_field(field.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")
        if not state or not self.alive:
            self.close()
            raise LinkLost(message or "the server closed the connection")
        raise ServerError(state, message)

    def _flush(self, end_s: float) -> None:
        connection = self.connection
        while connection.flush():
            if self._wait(select.POLLIN | select.POLLOUT, end_s) & select.POLLIN:
                connection.consume_input()

    def _result(self, end_s: float, *, expected: bool = True) -> Any:
        connection = self.connection
        while connection.is_busy():
            self._wait(select.POLLIN, end_s)
            connection.consume_input()
        result = connection.get_result()
        if (result is not None) != expected:
            raise LinkLost("the server closed the connection")
        return result

    def _dial(self, pq: Any, end_s: float) -> None:
        connection = self.connection
        while True:
            state = connection.connect_poll()
            if state == pq.PollingStatus.OK:
                return
            if connection.status == pq.ConnStatus.BAD or state == pq.PollingStatus.FAILED:
                raise LinkLost(connection.get_error_message())
            reading = state == pq.PollingStatus.READING
            self._wait(select.POLLIN if reading else select.POLLOUT, end_s)

    def _wait(self, events: int, end_s: float) -> int:
        """Wait for the socket; return what it is ready for."""
        poll = select.poll()
        poll.register(self.connection.socket, events)
        left_s = end_s - time.monotonic()
        ready = poll.poll(max(0.0, left_s * 1000)) if left_s > 0 else []
        if not ready:
            raise LinkLost("no answer in time")
        return ready[0][1]


def _said(error: Exception) -> str:
    """Return what libpq says in its first line, without what psycopg puts before it."""
    return str(error).strip().partition("\n")[0].rpartition("failed: ")[2]
