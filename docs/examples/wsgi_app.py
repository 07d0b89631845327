"""The gate around any WSGI application: eight workers, and five calls a second for a tenant.

Start it with `python wsgi_app.py`, then `curl -i -H 'X-Tenant: acme' localhost:8000/`.
"""

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from tidegate import Capacity, Gate, RateLimit
from tidegate.entrypoints.middleware import AdmissionMiddlewareWSGI, by_header

gate = Gate(
    limits=[
        RateLimit("requests", units=5, period_s=1, per=("tenant",)),
        Capacity("workers", units=8),
    ]
)
claim = by_header("X-Tenant", take={"requests": 1}, hold={"workers": 1})


def hello(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"hello at {environ['PATH_INFO']}\n".encode()]


app = AdmissionMiddlewareWSGI(hello, gate=gate, claim=claim, timeout_s=1)

if __name__ == "__main__":
    with make_server("127.0.0.1", 8000, app) as server:
        server.serve_forever()
