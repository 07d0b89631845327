"""The gate around any WSGI application, Flask's included: `app.wsgi_app = Gated(app.wsgi_app)`.

Start it with `python wsgi_app.py`, then `curl -i -H 'X-Tenant: acme' localhost:8000/`.
"""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from tidegate import AdmissionDenied, Capacity, Claim, Gate, RateLimit

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

gate = Gate(
    limits=[
        RateLimit("requests", units=5, period_s=1, per=("tenant",)),
        Capacity("workers", units=8),
    ]
)


class Gated:
    """Calls the application while it holds one of the workers; refuses with 429 or 503."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        tenant = environ.get("HTTP_X_TENANT", "default")
        claim = Claim(tenant=tenant, take={"requests": 1}, hold={"workers": 1})
        try:
            with gate.hold_sync(claim, timeout_s=1, capacities_only=True):
                # Read to the end while the worker is held; a streamed answer needs more care.
                return list(self._application(environ, start))
        except AdmissionDenied as error:
            return refused(error, start)


def refused(error: AdmissionDenied, start: Callable[..., Any]) -> Iterable[bytes]:
    denied = error.denied
    limited = denied.reason in ("rate_limited", "quota_exceeded")
    wait_s = math.ceil((denied.retry_after_us or 5_000_000) / 1e6)
    headers = [("Content-Type", "application/json"), ("Retry-After", str(wait_s))]
    start("429 Too Many Requests" if limited else "503 Service Unavailable", headers)
    return [json.dumps({"reason": denied.reason, "limit": denied.limit}).encode()]


def hello(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"hello at {environ['PATH_INFO']}\n".encode()]


app = Gated(hello)

if __name__ == "__main__":
    with make_server("127.0.0.1", 8000, app) as server:
        server.serve_forever()
