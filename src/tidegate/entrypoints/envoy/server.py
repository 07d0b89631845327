"""The listener that Envoy calls."""

from __future__ import annotations

from tidegate.bootstrap import Settings
from tidegate.entrypoints.envoy.grpc import GrpcMethods
from tidegate.entrypoints.envoy.http2 import Http2Connection
from tidegate.entrypoints.envoy.ratelimit import RateLimitService
from tidegate.entrypoints.gateway_listener import GatewayListener
from tidegate.facades.service import Service

SHOULD_RATE_LIMIT = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
HEALTH = b"/grpc.health.v1.Health/Check"


def envoy_listener(service: Service, settings: Settings) -> GatewayListener:
    """Return the listener, not started."""
    answering = RateLimitService(service, settings)
    methods = GrpcMethods(
        {SHOULD_RATE_LIMIT: answering.should_rate_limit, HEALTH: answering.health}
    )
    return GatewayListener(
        "envoy.listen",
        settings.envoy.listen,
        lambda closed: Http2Connection(methods.respond, closed),
    )
