"""`/v1/check` and `/v1/release`: what HTTP gateways ask before, and say after, each request.

Plain ASGI behind the frame, since every request of every tenant may come by here: a routed and
validated call costs three times as much. Whatever method and path suffix a gateway sends is taken,
and a body is not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.bootstrap import Settings
from tidegate.domain.check import Asked, outcome_of
from tidegate.domain.decision import Denied, Granted
from tidegate.domain.lease import Outcome
from tidegate.domain.rate_limit_fields import limit_fields
from tidegate.entrypoints.http.context import ANSWER_KEY
from tidegate.entrypoints.http.problems import denial
from tidegate.errors import InvalidRequest
from tidegate.facades.service import Service

CHECK, RELEASE = "/v1/check", "/v1/release"
OUTCOMES: tuple[Outcome, ...] = ("success", "failed", "timeout", "cancelled")
CARRIERS = (b"403", b"429")

# What the log and the metrics call a route.
_CHECKING, _RELEASING = SimpleNamespace(path=CHECK), SimpleNamespace(path=RELEASE)


class GatewayRoutes:
    """Answers gateways, and hands everything else to `app`."""

    def __init__(self, app: ASGIApp, service: Service, settings: Settings) -> None:
        self._app, self._service = app, service
        headers = settings.check.headers
        self._method, self._uri = _name(headers.method), _name(headers.uri)
        self._host, self._user = _name(headers.host), _name(headers.user)
        self._id = _name(headers.id)
        self._attributes = {k: _name(header) for k, header in settings.check.attributes.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the frame has found out the tenant."""
        path = scope["path"]
        if is_check(path):
            scope["route"] = _CHECKING
            await self._check(scope, send)
        elif path == RELEASE:
            scope["route"] = _RELEASING
            await self._release(scope, send)
        else:
            await self._app(scope, receive, send)

    async def _check(self, scope: Scope, send: Send) -> None:
        decision = await self._service.checks.check(self._asked(scope))
        tenant = scope["state"]["tenant"].id
        if isinstance(decision, Denied):
            service = self._service
            refusal = denial(decision, service.gate.policy, service.now_us())
            own = (b"x-tidegate-status", str(refusal.status_code).encode())
            named = (b"x-tidegate-tenant", tenant.encode())
            headers = [*refusal.raw_headers, own, named]
            await _answer(send, refusal.status_code, headers, bytes(refusal.body))
            return
        await _answer(send, 200, _granted(decision, tenant))

    async def _release(self, scope: Scope, send: Send) -> None:
        headers = dict(scope["headers"])
        lease_id = headers.get(b"x-tidegate-lease", b"").decode("latin-1")
        if not lease_id:
            raise InvalidRequest("X-Tidegate-Lease", "", "what a check answered under this name")
        outcome = _outcome(headers.get(b"x-tidegate-outcome", b"success").decode("latin-1"))
        # A lease that is gone needs no release, and a gateway could do nothing about it.
        self._service.checks.release(scope["state"]["tenant"].id, lease_id, outcome)
        await _answer(send, 204, [])

    def _asked(self, scope: Scope) -> Asked:
        # Of a header that came twice the last one counts: gateways append, clients come first.
        headers = dict(scope["headers"])

        def said(name: bytes) -> str:
            return headers[name].decode("latin-1") if name in headers else ""

        return Asked(
            tenant=scope["state"]["tenant"].id,
            method=said(self._method) or scope["method"],
            host=said(self._host) or said(b"host"),
            uri=said(self._uri) or _suffix(scope),
            user=said(self._user),
            attributes={name: said(header) for name, header in self._attributes.items()},
            id=_checked_id(said(self._id)),
        )


class Carrier:
    """Gives refusals of checks a status that the gateway can carry: 403 all, or 429 those of 5xx.

    Outside the frame, so that the refusals of the frame are carried too. 401 stays, and so do
    faults: what is no decision is left to the gateway's own choice to fail open or closed.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._tenant = _name(settings.check.headers.tenant)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _is_own(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._tenant != b"x-tenant-id":
            scope = {**scope, "headers": self._renamed(scope["headers"])}
        carry = _carry(scope)
        if not carry:
            await self._app(scope, receive, send)
            return

        async def carried(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = _carried(message, carry)
            await send(message)

        await self._app(scope, receive, carried)

    def _renamed(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        kept = [header for header in headers if header[0] != b"x-tenant-id"]
        return [(b"x-tenant-id" if k == self._tenant else k, value) for k, value in kept]


def is_check(path: str) -> bool:
    """Say whether a path is that of a check, with whatever suffix."""
    return path.startswith(CHECK) and path[len(CHECK) :][:1] in ("", "/")


def _granted(decision: Granted, tenant: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-length", b"0"), (b"x-tidegate-tenant", tenant.encode())]
    for name, value in limit_fields(decision.limits).items():
        headers.append((name.lower().encode(), value.encode()))
    if decision.lease.claim.hold:
        headers.append((b"x-tidegate-lease", decision.lease.id.encode()))
    return headers


async def _answer(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _carry(scope: Scope) -> bytes:
    """Return the status to carry refusals with: what the header says, else the query."""
    for name, value in scope["headers"]:
        if name == b"x-tidegate-carry":
            return bytes(value) if value in CARRIERS else b""
    for part in scope["query_string"].split(b"&"):
        if part.startswith(b"carry="):
            return bytes(part[6:]) if part[6:] in CARRIERS else b""
    return b""


def _carried(message: Message, carry: bytes) -> Message:
    status, headers = message["status"], list(message.get("headers", ()))
    refused = any(name == b"x-tidegate-status" for name, _ in headers)
    fault = status >= 500 and not refused
    if status < 400 or status == 401 or fault or (carry == b"429" and status < 500):
        return message
    if not refused:
        headers.append((b"x-tidegate-status", str(status).encode()))
    return {**message, "status": int(carry), "headers": headers}


def _is_own(path: str) -> bool:
    return is_check(path) or path == RELEASE


def _suffix(scope: Scope) -> str:
    """Return what stands behind `/v1/check`: gateways append the path they were asked for."""
    raw = bytes(scope.get("raw_path") or b"").decode("latin-1")
    return raw[len(CHECK) :] if raw.startswith(f"{CHECK}/") else "/"


def _checked_id(text: str) -> str | None:
    if not text:
        return None
    if not ANSWER_KEY.fullmatch(text):
        raise InvalidRequest("id", text[:128], "1..128 visible ASCII characters")
    return text


def _outcome(text: str) -> Outcome:
    """Return what a gateway says became of the request, in our words or as its status."""
    if text.isascii() and text.isdigit():
        return outcome_of(int(text[:6]))
    for outcome in OUTCOMES:
        if text == outcome:
            return outcome
    allowed = f"a status, or one of {', '.join(OUTCOMES)}"
    raise InvalidRequest("X-Tidegate-Outcome", text[:128], allowed)


def _name(header: str) -> bytes:
    return header.lower().encode()
