"""A Flask service with eight workers, and five calls a second for a tenant.

Start it with `flask --app flask_app run`, then `curl -i -H 'X-Tenant: acme' localhost:5000/report`.
"""

from flask import Flask

from tidegate import Capacity, Gate, RateLimit
from tidegate.entrypoints.middleware import AdmissionMiddlewareWSGI, by_header

gate = Gate(
    limits=[
        RateLimit("requests", units=5, period_s=1, per=("tenant",)),
        Capacity("workers", units=8),
    ]
)
claim = by_header("X-Tenant", take={"requests": 1}, hold={"workers": 1})

app = Flask(__name__)


@app.get("/report")
def report() -> dict[str, str]:
    return {"report": "all is well"}


app.wsgi_app = AdmissionMiddlewareWSGI(app.wsgi_app, gate=gate, claim=claim, timeout_s=1)
