"""The listeners for gateways that speak no HTTP, run beside the service where settings ask."""

from __future__ import annotations

from tidegate.bootstrap import Settings
from tidegate.facades.service import Service


def listen_for_gateways(service: Service, settings: Settings) -> None:
    """Have the listeners of the settings start and stop with the service.

    Raises:
        ExtraMissing: one of them needs a part that is not installed.
    """
    if settings.envoy.listen:
        from tidegate.entrypoints.envoy.server import envoy_listener

        listener = envoy_listener(service, settings)
        service.run_beside(listener.start, listener.stop)
    if settings.haproxy.listen:
        from tidegate.entrypoints.haproxy.server import haproxy_listener

        listener = haproxy_listener(service, settings)
        service.run_beside(listener.start, listener.stop)
