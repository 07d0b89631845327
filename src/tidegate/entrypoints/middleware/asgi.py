"""The gate around any ASGI application: Starlette, FastAPI, Litestar, Django, or a plain callable.

Pure ASGI, so that streams, background tasks and WebSockets pass as they are. What a request holds
is given back when its answer has been sent to the end, or its application has ended; what runs
after the answer holds nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted
from tidegate.domain.lease import LEASE_S
from tidegate.entrypoints.middleware.answer import Fields, invalid, raw, refusal
from tidegate.entrypoints.middleware.door import Door
from tidegate.entrypoints.middleware.exchange import ASGIApp, Exchange, Scope, Send
from tidegate.entrypoints.middleware.inbox import Receive
from tidegate.errors import InvalidRequest, LeaseLost
from tidegate.facades.gate import AdmissionGate

LISTEN_AFTER_S = 0.1
"""How long a request waits for its turn before anybody looks whether its client is still there.

Looking asks for the body, so what is decided at once must not look: a client that waits for
`100 Continue` would send a body that nobody wants.
"""


class AdmissionMiddleware:
    """Admits each request before the application sees it, and answers refusals itself.

    Args:
        app: The application.
        gate: Decides.
        claim: Makes a claim of a connection scope; None lets the request pass. An InvalidRequest
            that it raises is answered with 422.
        timeout_s: How long a request may wait for capacities. Rates and quotas refuse at once.
        lease_s: After this long what is held comes back, should this process die.
        on_denied: Told of each refusal; an ASGI application it returns answers instead.
        legacy_headers: Also send the three `X-RateLimit-` fields.
        partition_keys: Also say `pk` in the fields; see `rate_limit_fields.limit_fields`.

    Raises:
        LeaseLost: the lease could not be renewed; the application was cancelled.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        gate: AdmissionGate,
        claim: Callable[[Scope], Claim | None],
        timeout_s: float = 0.0,
        lease_s: float = LEASE_S,
        on_denied: Callable[[Scope, Denied], ASGIApp | None] | None = None,
        legacy_headers: bool = False,
        partition_keys: bool = False,
    ) -> None:
        self._app, self._claim, self._on_denied = app, claim, on_denied
        self._door = Door(gate=gate, timeout_s=timeout_s, lease_s=lease_s)
        self._fields = Fields(legacy=legacy_headers, partition_keys=partition_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; what is neither HTTP nor WebSocket passes through."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            claim = self._claim(scope)
        except InvalidRequest as error:
            await Exchange(scope, receive, send).answer(invalid(error))
            return
        if claim is None:
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._govern(exchange, claim)
        finally:
            await exchange.close()

    async def _govern(self, exchange: Exchange, claim: Claim) -> None:
        try:
            async with AsyncExitStack() as stack:
                if await self._admit(exchange, claim, stack):
                    await self._run(exchange, claim)
        except LeaseLost as lost:
            # Given back as the answer ended, just when it was to be renewed: nothing is lost.
            if not (exchange.holds(lost.lease_id) and exchange.complete):
                raise
        await exchange.finish()

    async def _run(self, exchange: Exchange, claim: Claim) -> None:
        work = self._app(exchange.scope, exchange.inbox.receive, exchange.send)
        if not claim.hold:
            await work
            exchange.ended()
            return
        try:
            await exchange.run(work)
        except BaseException:
            # Cancelled, or the lease lost. What goes on after the answer holds nothing.
            if not exchange.complete:
                await exchange.stop()
            raise

    async def _admit(self, exchange: Exchange, claim: Claim, stack: AsyncExitStack) -> bool:
        """Say whether the application may run; answer instead of it if not."""
        try:
            decision = await self._decide(exchange, claim, stack)
        except InvalidRequest as error:
            await exchange.answer(invalid(error))
            return False
        if isinstance(decision, Granted):
            told = raw(self._fields.told(decision.limits))
            exchange.grant(decision.lease, told, watched=bool(claim.hold))
            return True
        if decision is not None:
            await self._refuse(exchange, decision)
        return False

    async def _decide(
        self, exchange: Exchange, claim: Claim, stack: AsyncExitStack
    ) -> Decision | None:
        """Return the decision, or None if the client went away while it waited."""
        if not (claim.hold and self._door.timeout_s and exchange.scope["type"] == "http"):
            return await self._door.enter(claim, stack)
        loop, gone = asyncio.get_running_loop(), exchange.inbox.gone
        listening = loop.call_later(LISTEN_AFTER_S, exchange.inbox.listen)
        try:
            async with asyncio.timeout(None) as patience:

                def hurry(_: object) -> None:
                    patience.reschedule(loop.time())

                gone.add_done_callback(hurry)
                try:
                    return await self._door.enter(claim, stack)
                finally:
                    gone.remove_done_callback(hurry)
        except TimeoutError:
            if not gone.done():
                raise
            return None
        finally:
            listening.cancel()

    async def _refuse(self, exchange: Exchange, denied: Denied) -> None:
        own = self._on_denied(exchange.scope, denied) if self._on_denied else None
        if own is None:
            await exchange.answer(refusal(denied, self._fields))
        else:
            await own(exchange.scope, exchange.inbox.receive, exchange.send)
