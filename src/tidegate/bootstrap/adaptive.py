"""The capacities of the service that follow what is behind them."""

from __future__ import annotations

from tidegate.config import Settings
from tidegate.facades.adaptive import AdaptiveCapacity
from tidegate.facades.gate import AdmissionGate


def adaptive_capacities(settings: Settings, gate: AdmissionGate) -> list[AdaptiveCapacity]:
    """Return those that the settings ask for; browsers are never more than there are slots."""
    adaptive = settings.browser.adaptive
    if adaptive.algorithm is None:
        return []
    # Pages fail for reasons of their own. Only time-outs say that there were too many at once.
    return [
        AdaptiveCapacity(
            gate,
            "browsers",
            algorithm=adaptive.algorithm,
            minimum=adaptive.minimum,
            drops=("timeout",),
        )
    ]
