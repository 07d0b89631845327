"""The rate limit service itself: a request of Envoy in, the gate's decision out.

Whatever is wrong with a request is a refusal and no fault: Envoy lets through what faults, unless
it is told otherwise, and a wrong key must not open the gate. Only what keeps us from deciding is a
fault, and the gateway's own choice then says whether the request goes on.

Source: Envoy API, service/ratelimit/v3/rls.proto.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from msgspec.structs import replace
from starlette.responses import Response

from tidegate.bootstrap import Settings
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied, LimitState
from tidegate.domain.rate_limit_fields import limit_fields
from tidegate.entrypoints.envoy.grpc import INVALID_ARGUMENT, UNAVAILABLE, CallFailed
from tidegate.entrypoints.envoy.http2 import Headers
from tidegate.entrypoints.envoy.messages import (
    OK,
    OVER_LIMIT,
    DescriptorStatus,
    RateLimitRequest,
    RateLimitResponse,
    Unreadable,
    read_request,
)
from tidegate.entrypoints.envoy.wanted import DescriptorRules, Wanted
from tidegate.entrypoints.http.problems import denial, problem_of
from tidegate.errors import InvalidRequest, TidegateError, Unavailable
from tidegate.facades.service import Service

_HIDDEN = (b"content-length",)
"""What Envoy counts itself."""


class RateLimitService:
    """Answers `ShouldRateLimit`."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._domain, self._key_required = settings.envoy.domain, settings.envoy.key_required
        self._rules = DescriptorRules(settings)

    async def should_rate_limit(self, message: bytes, headers: Headers) -> bytes:
        """Answer one call.

        Raises:
            CallFailed: it cannot be read, or not be decided now.
        """
        try:
            request = read_request(message)
        except Unreadable as unreadable:
            raise CallFailed(INVALID_ARGUMENT, str(unreadable)) from None
        try:
            response = await self._answer(request, headers.get(b"authorization", b""))
        except Unavailable as unavailable:
            raise CallFailed(UNAVAILABLE, unavailable.code) from None
        except TidegateError as error:
            service = self._service
            refusal = problem_of(error, service.gate.policy, service.now_us())
            statuses = [DescriptorStatus(code=OVER_LIMIT)] * len(request.descriptors)
            response = _refused(refusal, statuses)
        return response.encode()

    async def health(self, message: bytes, headers: Headers) -> bytes:  # noqa: ARG002
        """Answer `grpc.health.v1.Health/Check`: SERVING, or NOT_SERVING once the end has begun."""
        return b"\x08\x02" if self._service.status.draining else b"\x08\x01"

    async def _answer(self, request: RateLimitRequest, authorization: bytes) -> RateLimitResponse:
        if request.domain != self._domain:
            raise InvalidRequest("domain", request.domain[:128], self._domain)
        tenant = await self._tenant(request, authorization)
        wanted = self._rules.wanted(request)
        claim = self._rules.claim(request, tenant, wanted.take)
        if wanted.settles:
            states = []
            if claim.take:
                charged = replace(claim, id=secrets.token_hex(12))
                states = await self._service.checks.charge(charged)
            return _granted(wanted, states)
        decided = await self._decide(claim, wanted)
        if isinstance(decided, Denied):
            policy, now_us = self._service.gate.policy, self._service.now_us()
            return _refused(denial(decided, policy, now_us), _over(wanted, decided))
        return _granted(wanted, decided)

    async def _tenant(self, request: RateLimitRequest, authorization: bytes) -> str:
        named = self._rules.tenant(request)
        if not self._key_required and named is not None:
            return (await self._service.tenants.get(named)).id
        scheme, _, key = authorization.decode("latin-1").partition(" ")
        shown = key.strip() if scheme.lower() == "bearer" else None
        return (await self._service.access.tenant(shown, named)).id

    async def _decide(self, claim: Claim, wanted: Wanted) -> Denied | Sequence[LimitState]:
        """Look first where nothing is to be spent: what is left of it decides as well."""
        states: list[LimitState] = []
        if wanted.looked_at:
            looked = replace(claim, take=dict.fromkeys(wanted.looked_at, 1))
            denied, states = self._service.checks.explain(looked)
            if denied is not None:
                return replace(denied, limits=tuple(states))
        if wanted.take or not wanted.looked_at:
            decision = await self._service.checks.admit(claim)
            if isinstance(decision, Denied):
                return decision
            states += decision.limits
        return states


def _over(wanted: Wanted, denied: Denied) -> list[DescriptorStatus]:
    """Say of each descriptor whether it is the one that was refused."""
    refusing = next((state for state in denied.limits if state.name == denied.limit), None)
    if refusing is None:
        return [DescriptorStatus(code=OVER_LIMIT)] * len(wanted.parts)
    over = DescriptorStatus(
        code=OVER_LIMIT,
        name=refusing.name,
        units=refusing.units,
        window_s=_window_s(denied.limits, refusing.name),
        remaining=denied.remaining,
        reset_us=denied.retry_after_us,
    )
    return [
        over if refusing.resource in part else _standing(part, denied.limits)
        for part in wanted.parts
    ]


def _granted(wanted: Wanted, states: Sequence[LimitState]) -> RateLimitResponse:
    return RateLimitResponse(
        code=OK,
        statuses=tuple(_standing(part, states) for part in wanted.parts),
        headers=tuple(limit_fields(states).items()),
    )


def _refused(refusal: Response, statuses: Sequence[DescriptorStatus]) -> RateLimitResponse:
    shown = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in refusal.raw_headers
        if name not in _HIDDEN
    ]
    return RateLimitResponse(
        code=OVER_LIMIT,
        statuses=tuple(statuses),
        headers=(*shown, ("x-tidegate-status", str(refusal.status_code))),
        body=bytes(refusal.body),
    )


def _standing(part: Iterable[str], states: Sequence[LimitState]) -> DescriptorStatus:
    """Return how a descriptor stands: as the one of its limits that has the least left."""
    own = [state for state in states if state.resource in part]
    if not own:
        return DescriptorStatus(code=OK)
    least = min(own, key=lambda state: state.remaining / state.units)
    return DescriptorStatus(
        code=OK,
        name=least.name,
        units=least.units,
        window_s=_window_s(own, least.name),
        remaining=least.remaining,
        reset_us=least.reset_us,
    )


def _window_s(states: Sequence[LimitState], name: str) -> int:
    windows_us = [state.window_us or 0 for state in states if state.name == name]
    return windows_us[0] // 1_000_000 if windows_us else 0
