"""What HAProxy asks and is told: `check` before a request goes on, `release` when it is answered.

Whatever is wrong with a question is a refusal: its variables say so. A question that cannot be
decided sets no variable, and HAProxy's own `set-on-error` then says whether the request goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from starlette.responses import Response

from tidegate.bootstrap import Settings
from tidegate.domain.check import Asked, outcome_of
from tidegate.domain.decision import Denied, Granted
from tidegate.domain.rate_limit_fields import limit_fields
from tidegate.entrypoints.haproxy.agent import Variables
from tidegate.entrypoints.haproxy.frames import Message
from tidegate.entrypoints.http.problems import denial, problem_of
from tidegate.errors import TidegateError, Unavailable
from tidegate.facades.service import Service

BODY_MAX_BYTES = 2_048
"""Longest problem details that are told: all variables have to fit into one frame."""

_TOLD = {"retry": "retry-after", "ratelimit": "ratelimit", "policy": "ratelimit-policy"}
"""Variables, and the header of a refusal that each has its value from."""

_log = logging.getLogger(__name__)


class Questions:
    """Answers the messages of HAProxy's configuration."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._key_required = settings.haproxy.key_required
        self._attributes = tuple(settings.check.attributes)

    async def answer(self, messages: Sequence[Message]) -> Variables:
        """Return the variables to set for the transaction."""
        variables: Variables = {}
        for message in messages:
            try:
                variables |= await self._one(message)
            except Unavailable as unavailable:
                _log.warning("%s of HAProxy not answered: %s", message.name, unavailable)
        return variables

    async def _one(self, message: Message) -> Variables:
        said = {name: str(value) for name, value in message.arguments.items() if value is not None}
        if message.name == "check":
            return await self._check(said)
        if message.name == "release":
            await self._release(said)
        return {}

    async def _check(self, said: dict[str, str]) -> Variables:
        service = self._service
        policy, now_us = service.gate.policy, service.now_us()
        tenant = said.get("tenant", "")
        try:
            tenant = await self._tenant(said)
            decision = await service.checks.check(self._asked(said, tenant))
        except Unavailable:
            raise
        except TidegateError as error:
            return _refused(problem_of(error, policy, now_us))
        if isinstance(decision, Denied):
            return _refused(denial(decision, policy, now_us))
        return _granted(decision, tenant)

    async def _release(self, said: dict[str, str]) -> None:
        lease_id, status = said.get("lease", ""), said.get("status", "0")
        if not lease_id:
            return
        try:
            tenant = await self._tenant(said)
        except TidegateError as error:
            _log.warning("a lease was not given back: %s", error)
            return
        outcome = outcome_of(int(status) if status.isdecimal() else 0)
        self._service.checks.release(tenant, lease_id, outcome)

    async def _tenant(self, said: dict[str, str]) -> str:
        """Return the tenant, by the key in the message: its own, or the admin's."""
        tenant, key = said.get("tenant") or None, said.get("key", "")
        if not self._key_required and tenant:
            return (await self._service.tenants.get(tenant)).id
        # As a header has it, `Bearer <key>`, or the key alone.
        scheme, _, shown = key.partition(" ")
        shown = shown.strip() if scheme.lower() == "bearer" else key
        return (await self._service.access.tenant(shown or None, tenant)).id

    def _asked(self, said: dict[str, str], tenant: str) -> Asked:
        return Asked(
            tenant=tenant,
            method=said.get("method", "GET"),
            host=said.get("host", ""),
            uri=said.get("uri", "/"),
            user=said.get("user", ""),
            attributes={name: said.get(name, "") for name in self._attributes},
            id=said.get("id", "")[:128] or None,
        )


def _granted(decision: Granted, tenant: str) -> Variables:
    variables: Variables = {"status": 200, "tenant": tenant}
    fields = limit_fields(decision.limits)
    if fields:
        variables["ratelimit"] = fields["RateLimit"]
        variables["policy"] = fields["RateLimit-Policy"]
    if decision.lease.claim.hold:
        variables["lease"] = decision.lease.id
    return variables


def _refused(refusal: Response) -> Variables:
    variables: Variables = {"status": refusal.status_code}
    for name, header in _TOLD.items():
        value = refusal.headers.get(header)
        if value is not None:
            variables[name] = int(value) if name == "retry" else value
    body = bytes(refusal.body)
    if len(body) <= BODY_MAX_BYTES:
        variables["problem"] = body.decode()
    return variables
