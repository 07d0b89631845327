"""The gate around single endpoints: a decorator for whatever framework calls them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.domain.lease import LEASE_S
from tidegate.entrypoints.middleware.answer import Answer, Fields, invalid, refusal
from tidegate.entrypoints.middleware.claims import OfRequest
from tidegate.entrypoints.middleware.door import Door
from tidegate.entrypoints.middleware.frameworks import request_among, said
from tidegate.errors import AdmissionDenied, InvalidRequest, TidegateError
from tidegate.facades.gate import AdmissionGate

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def governed(
    gate: AdmissionGate,
    *,
    claim: Claim | Callable[..., Claim | None],
    timeout_s: float = 0.0,
    lease_s: float = LEASE_S,
    legacy_headers: bool = False,
    partition_keys: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that lets an endpoint run only while its claim is held.

    The endpoint keeps its signature, and with it what its framework injects. It is held while the
    function runs: an answer that is streamed afterwards needs the middleware, or `admit`.

    Args:
        gate: Decides.
        claim: The claim, or a function that makes it of what the endpoint is called with; None
            lets the call pass. The ready-made ones, such as `by_header`, need a request among it.
        timeout_s: How long a call may wait for capacities. Rates and quotas refuse at once.
        lease_s: After this long what is held comes back, should this process die.
        legacy_headers: Also send the three `X-RateLimit-` fields with a refusal.
        partition_keys: Also say `pk` there; see `rate_limit_fields.limit_fields`.

    Raises:
        InvalidRequest: the function is a generator, whose answer does not exist when it returns.
    """
    door = Door(gate=gate, timeout_s=timeout_s, lease_s=lease_s)
    fields = Fields(legacy=legacy_headers, partition_keys=partition_keys)

    def wanted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Claim | None:
        if isinstance(claim, Claim):
            return claim
        if isinstance(claim, OfRequest):
            return claim(request_among((*args, *kwargs.values())))
        return claim(*args, **kwargs)

    def decorate(function: Endpoint) -> Endpoint:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidRequest(
                "endpoint", function.__qualname__, "a function that is no generator"
            )
        wrap = _wrapped if inspect.iscoroutinefunction(function) else _wrapped_sync
        wrapped: Endpoint = wrap(function, door, fields, wanted)
        return wrapped

    return decorate


Wanted = Callable[[tuple[Any, ...], dict[str, Any]], Claim | None]


def _wrapped(function: Any, door: Door, fields: Fields, wanted: Wanted) -> Any:
    @functools.wraps(function)
    async def endpoint(*args: Any, **kwargs: Any) -> Any:
        async with AsyncExitStack() as stack:
            try:
                claim = wanted(args, kwargs)
                decision = await door.enter(claim, stack) if claim is not None else None
            except InvalidRequest as error:
                return _answered(invalid(error), error, (*args, *kwargs.values()))
            if isinstance(decision, Denied):
                answer, refused = refusal(decision, fields), AdmissionDenied(decision)
                return _answered(answer, refused, (*args, *kwargs.values()))
            return await function(*args, **kwargs)

    return endpoint


def _wrapped_sync(function: Any, door: Door, fields: Fields, wanted: Wanted) -> Any:
    @functools.wraps(function)
    def endpoint(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            try:
                claim = wanted(args, kwargs)
                decision = door.enter_sync(claim, stack) if claim is not None else None
            except InvalidRequest as error:
                return _answered(invalid(error), error, (*args, *kwargs.values()))
            if isinstance(decision, Denied):
                answer, refused = refusal(decision, fields), AdmissionDenied(decision)
                return _answered(answer, refused, (*args, *kwargs.values()))
            return function(*args, **kwargs)

    return endpoint


def _answered(answer: Answer, error: TidegateError, handed: tuple[Any, ...]) -> Any:
    try:
        return said(answer, handed)
    except LookupError:
        # Whoever calls this without a framework knows the library's own errors.
        raise error from None
