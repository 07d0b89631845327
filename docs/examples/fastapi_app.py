"""A FastAPI service whose reports are scarce: two at once, and five calls a second for a tenant.

Start it with `uvicorn fastapi_app:app`, then `curl -i -H 'X-Tenant: acme' localhost:8000/report`.
"""

from typing import Annotated

from fastapi import Depends, FastAPI, Header

from tidegate import Capacity, Gate, Lease, RateLimit
from tidegate.entrypoints.middleware import Refused, admit, by_header, problem_details

gate = Gate(
    limits=[
        RateLimit("requests", units=5, period_s=1, per=("tenant",)),
        Capacity("reports", units=2),
    ]
)
# A rate refuses at once; for one of the two places the request waits up to two seconds.
claim = by_header("X-Tenant", take={"requests": 1}, hold={"reports": 1})
Place = Annotated[Lease, Depends(admit(gate, claim=claim, timeout_s=2))]

app = FastAPI()
app.add_exception_handler(Refused, problem_details)


@app.get("/report")
async def report(place: Place, x_tenant: Annotated[str, Header()]) -> dict[str, str]:
    return {"report": f"all is well with {x_tenant}", "lease": place.id}
