"""A FastAPI service whose reports are scarce: two at once, and five calls a second for a tenant.

Start it with `uvicorn fastapi_app:app`, then `curl -i -H 'X-Tenant: acme' localhost:8000/report`.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse

from tidegate import AdmissionDenied, Capacity, Claim, Gate, Lease, RateLimit

gate = Gate(
    limits=[
        RateLimit("requests", units=5, period_s=1, per=("tenant",)),
        Capacity("reports", units=2),
    ]
)
app = FastAPI()


@app.exception_handler(AdmissionDenied)
async def refused(_: Request, error: AdmissionDenied) -> JSONResponse:
    denied = error.denied
    wait_s = math.ceil((denied.retry_after_us or 5_000_000) / 1e6)
    status = 429 if denied.reason in ("rate_limited", "quota_exceeded") else 503
    body = {"reason": denied.reason, "limit": denied.limit}
    return JSONResponse(body, status_code=status, headers={"Retry-After": str(wait_s)})


async def a_report(x_tenant: Annotated[str, Header()]) -> AsyncIterator[Lease]:
    """Hold what a report needs while the request lasts, and give it back however that ends."""
    claim = Claim(tenant=x_tenant, take={"requests": 1}, hold={"reports": 1})
    # A rate refuses at once; for one of the two places the request waits up to two seconds.
    async with gate.hold(claim, timeout_s=2, capacities_only=True) as lease:
        yield lease


@app.get("/report")
async def report(lease: Annotated[Lease, Depends(a_report)]) -> dict[str, str]:
    await asyncio.sleep(0.05)
    return {"report": "all is well", "lease": lease.id}
