"""A Litestar service of which one route is governed: five calls a second for a tenant.

Start it with `uvicorn litestar_app:app`, then `curl -i -H 'X-Tenant: acme' localhost:8000/report`.
"""

from typing import Any

from litestar import Litestar, Request, get

from tidegate import Gate, RateLimit
from tidegate.entrypoints.middleware import by_header, governed

gate = Gate(limits=[RateLimit("requests", units=5, period_s=1, per=("tenant",))])


@get("/report")
@governed(gate, claim=by_header("X-Tenant", take={"requests": 1}))
async def report(request: Request[Any, Any, Any]) -> dict[str, str]:
    return {"report": f"all is well with {request.headers['x-tenant']}"}


app = Litestar([report])
