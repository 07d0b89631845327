"""HTTP/1.1 from strangers: a head has an end, in bytes and in time, and no HTTP is told so.

uvicorn on httptools bounds neither, so one client could fill the memory with a header that never
ends, and a few thousand could hold every socket without a word.
"""

from __future__ import annotations

import asyncio
import secrets

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tidegate.entrypoints.http.problems import problem

HEAD_MAX_BYTES = 64 * 1024
"""Request line and headers together, about; what common servers take at most."""

HEAD_MAX_S = 10.0
"""How long a client may take for them, from connecting or from the first byte on."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with these bounds."""

    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came, unless the head has grown too large with it."""
        super().data_received(data)
        if self._deadline is not None:
            # Once the head is complete this counts no more: a body may be larger.
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(431, "too_large", f"the head is larger than {HEAD_MAX_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Begin the head of the next request."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer what is no HTTP."""
        self._refuse(400, "unreadable", "this is no HTTP request")

    def _expect_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_MAX_S, self.transport.close)

    def _end_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int, code: str, detail: str) -> None:
        self._end_head()
        # In the middle of an earlier answer there is no place for another one.
        if self.cycle is None or self.cycle.response_complete:
            own = {"Connection": "close", "X-Request-ID": secrets.token_hex(12)}
            response = problem(status, code, detail, headers=own)
            headers = [*self.server_state.default_headers, *response.raw_headers]
            lines = [STATUS_LINE[status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
            self.transport.write(b"".join(lines) + bytes(response.body))
        self.transport.close()
