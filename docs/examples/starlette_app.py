"""A Starlette service with two places for reports, and five calls a second for a client.

Start it with `uvicorn starlette_app:app`, then `curl -i localhost:8000/report`.
"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tidegate import Capacity, Gate, RateLimit
from tidegate.entrypoints.middleware import AdmissionMiddleware, by_client_address, per_route

gate = Gate(
    limits=[
        RateLimit("requests", units=5, period_s=1, per=("tenant",)),
        Capacity("reports", units=2),
    ]
)
claim = per_route(
    {
        "/health": None,
        "GET /report": by_client_address(take={"requests": 1}, hold={"reports": 1}),
    },
    otherwise=by_client_address(take={"requests": 1}),
)


async def report(_: Request) -> PlainTextResponse:
    return PlainTextResponse("all is well\n")


async def health(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


app = Starlette(
    routes=[Route("/report", report), Route("/health", health)],
    middleware=[Middleware(AdmissionMiddleware, gate=gate, claim=claim, timeout_s=2)],
)
