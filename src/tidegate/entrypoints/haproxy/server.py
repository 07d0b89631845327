"""The listener that HAProxy asks."""

from __future__ import annotations

from tidegate.bootstrap import Settings
from tidegate.entrypoints.gateway_listener import GatewayListener
from tidegate.entrypoints.haproxy.agent import Agent
from tidegate.entrypoints.haproxy.questions import Questions
from tidegate.facades.service import Service


def haproxy_listener(service: Service, settings: Settings) -> GatewayListener:
    """Return the listener, not started."""
    questions = Questions(service, settings)
    return GatewayListener(
        "haproxy.listen",
        settings.haproxy.listen,
        lambda closed: Agent(questions.answer, closed),
    )
