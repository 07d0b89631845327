"""A FastAPI dependency that holds a claim from before the endpoint until after the response.

FastAPI ends dependencies of a request after the response since its version 0.118.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.domain.lease import LEASE_S, Lease
from tidegate.entrypoints.middleware.answer import Answer, Fields, invalid, refusal
from tidegate.entrypoints.middleware.door import Door
from tidegate.errors import ExtraMissing, InvalidRequest
from tidegate.facades.gate import AdmissionGate

try:
    from fastapi import HTTPException, Response
    from fastapi.requests import HTTPConnection
except ImportError:
    raise ExtraMissing("server") from None


class Refused(HTTPException):
    """The refusal as FastAPI has it: an HTTPException whose `detail` is the problem details.

    With `app.add_exception_handler(Refused, problem_details)` they are the body itself.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status, detail=answer.problem, headers=answer.fields)
        self.answer = answer


async def problem_details(connection: HTTPConnection, error: Exception) -> Response:  # noqa: ARG001
    """Answer a refusal by problem details alone, as the middleware does: an exception handler."""
    assert isinstance(error, Refused)
    answer = error.answer
    return Response(answer.body, answer.status, headers=answer.headers)


def admit(
    gate: AdmissionGate,
    *,
    claim: Callable[[HTTPConnection], Claim | None],
    timeout_s: float = 0.0,
    lease_s: float = LEASE_S,
    legacy_headers: bool = False,
    partition_keys: bool = False,
) -> Callable[..., AsyncIterator[Lease | None]]:
    """Return a dependency, for `Depends(admit(...))`: its value is the lease.

    Args:
        gate: Decides.
        claim: Makes a claim of the request or WebSocket; None lets it pass, with None as lease.
        timeout_s: How long a request may wait for capacities. Rates and quotas refuse at once.
        lease_s: After this long what is held comes back, should this process die.
        legacy_headers: Also send the three `X-RateLimit-` fields.
        partition_keys: Also say `pk` in the fields; see `rate_limit_fields.limit_fields`.

    Raises:
        Refused: in the dependency, where the claim is denied.
    """
    door = Door(gate=gate, timeout_s=timeout_s, lease_s=lease_s)
    fields = Fields(legacy=legacy_headers, partition_keys=partition_keys)

    async def admitted(
        connection: HTTPConnection, response: Response
    ) -> AsyncIterator[Lease | None]:
        async with AsyncExitStack() as stack:
            try:
                wanted = claim(connection)
                decision = await door.enter(wanted, stack) if wanted is not None else None
            except InvalidRequest as error:
                raise Refused(invalid(error)) from None
            if isinstance(decision, Denied):
                raise Refused(refusal(decision, fields))
            if decision is not None:
                response.headers.update(fields.told(decision.limits))
            yield decision.lease if decision is not None else None

    return admitted
