"""The application behind the gateways: it says what reached it, and waits where it is told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PATIENCE_S = 60.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Gateways break off as they like; that is what is tested."""


class App:
    """Answers with what it was asked. A path with `slow` in it waits until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.waiting = threading.Semaphore(0)
        """Released once by each request that has come to wait."""
        self.asked: list[str] = []
        app = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                app.serve(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            setattr(Handler, f"do_{method}", Handler.answer)
        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.asked.append(request.path)
        length = int(request.headers.get("Content-Length") or 0)
        sent = request.rfile.read(length)
        if "slow" in request.path:
            self.waiting.release()
            assert self.go.wait(PATIENCE_S)
        query = parse_qs(urlsplit(request.path).query)
        told = {
            "path": request.path,
            "method": request.command,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "bytes": len(sent),
        }
        status = int(query.get("status", ["200"])[0])
        body = b"" if status == 304 else json.dumps(told).encode()
        request.send_response(status)
        for used in query.get("used", []):
            request.send_header("X-Tokens-Used", used)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def close(self) -> None:
        """Stop, and let go whoever waits."""
        self.go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
