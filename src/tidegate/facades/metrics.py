"""What an operator can watch: counters of this process, and one text for Prometheus.

`FAMILIES` is the only place where metrics get their names, types and help texts; whatever else
speaks of metrics (alert rules, dashboards, documents) is made from it. Every label has a bounded
number of values, whatever callers send. Counters belong to one event loop: adding to a shared one
from threads would lose counts, and a lock costs more than the count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, get_args

from tidegate.domain.decision import Reason
from tidegate.domain.exposition import OTHER, Busiest, Family, Histogram, Samples, write
from tidegate.errors import StoreUnavailable
from tidegate.facades.adaptive import AdaptiveCapacity
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.near_limits import NearLimits
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.pools import Pool
from tidegate.facades.pressure import MemoryPressure
from tidegate.facades.status import shared_capacities

PREFIX = "tidegate_"
UNMATCHED = "unmatched"
"""The route label of requests that no route matched."""

ROUTES_MAX = 100
OPERATIONS_MAX = 30
SERIES_MAX = 1_000
"""Combinations of labels counted apart in one family; a service has a few hundred."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _family(kind: Literal["counter", "gauge", "histogram"], text: str, *labels: str) -> Family:
    name, _, meaning = text.partition(": ")
    return Family(name=name, kind=kind, help=meaning, labels=labels)


FAMILIES: tuple[Family, ...] = (
    _family("gauge", "build_info: Always 1; the label says which version runs.", "version"),
    _family("counter", "decisions_total: Claims granted, or denied for a reason.", "reason"),
    _family("histogram", "decision_duration_seconds: Time to decide a claim, without waiting."),
    _family("gauge", "leases_active: Leases that hold something now."),
    _family("counter", "leases_settled_total: Leases whose estimate was settled."),
    _family("counter", "limit_near_total: Times that a limit came near.", "limit"),
    _family("counter", "shadow_refused_total: Refusals by a limit in shadow.", "limit"),
    _family("counter", "keys_overflowed_total: Scopes that had to share a budget.", "limit"),
    _family("gauge", "tenant_quota_usage: Used part of what is near.", "tenant", "limit"),
    _family("gauge", "queue_depth: Claims that wait now."),
    _family("histogram", "queue_wait_seconds: Time that admitted work had waited in the queue."),
    _family("gauge", "capacity_units: Units of a capacity that all share.", "resource"),
    _family("gauge", "capacity_in_use: Units of a shared capacity held now.", "resource"),
    _family("gauge", "adaptive_limit_units: Units that an adaptive limit allows now.", "limit"),
    _family("gauge", "pool_size: Most workers that a pool may have.", "pool"),
    _family("gauge", "pool_in_use: Workers lent to a job now.", "pool"),
    _family("counter", "pool_failed_total: Workers that died or did not start.", "pool"),
    _family("counter", "operations_total: Work that ended.", "operation", "outcome"),
    _family("histogram", "operation_duration_seconds: Time that work took.", "operation"),
    _family("counter", "tenant_operations_total: Work that ended, by tenant.", "tenant"),
    _family("gauge", "degradation_score: 0 is well, 1 is nothing but timeouts of late."),
    _family("gauge", "memory_used_bytes: The larger of measured and promised memory."),
    _family("gauge", "memory_limit_bytes: Memory that work may use together."),
    _family("gauge", "memory_pressure: 1 while memory is scarce and new work is refused."),
    _family("counter", "memory_pressure_events_total: Times that memory became scarce."),
    _family("counter", "http_requests_total: Requests answered.", "route", "method", "status"),
    _family("histogram", "http_request_duration_seconds: Time to answer a request.", "route"),
)

DECISION_US = (5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000)
WAIT_US = tuple(ms * 1_000 for ms in (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 3_000, 10_000))
# Among the bounds are the default caps of render, extract and PDF: 3, 5 and 10 seconds.
WORK_US = (*WAIT_US[:-2], 2_000_000, 3_000_000, 5_000_000, 10_000_000, 30_000_000)
HTTP_US = (250, 500, *WORK_US)


class _Durations:
    """Histograms by one label; what comes when there is no more room shares `overflow`."""

    def __init__(self, bounds_us: tuple[int, ...], *, labels_max: int, overflow: str) -> None:
        self._bounds_us, self._labels_max, self._overflow = bounds_us, labels_max, overflow
        self.samples: dict[tuple[str, ...], Histogram] = {}

    def observe(self, label: str, duration_us: int) -> str:
        """Count a duration, and return the label that it was counted under."""
        histogram = self.samples.get((label,))
        if histogram is None:
            label = label if len(self.samples) < self._labels_max else self._overflow
            histogram = self.samples.setdefault((label,), Histogram(self._bounds_us))
        histogram.observe(duration_us)
        return label


class Metrics:
    """Counts what happens and writes it down with the state of the live parts."""

    def __init__(self, *, version: str) -> None:
        self._version = version
        self._decision, self._queue_wait = Histogram(DECISION_US), Histogram(WAIT_US)
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._routes = _Durations(HTTP_US, labels_max=ROUTES_MAX, overflow=UNMATCHED)
        self._outcomes: Counter[tuple[str, ...]] = Counter()
        self._operations = _Durations(WORK_US, labels_max=OPERATIONS_MAX, overflow=OTHER)
        self._tenants = Busiest()

    def http(self, route: str | None, method: str, status: int, duration_us: int) -> None:
        """Count an answered request.

        Args:
            route: The template, such as `/v1/leases/{lease_id}`, never the path as it was sent;
                None where no route matched.
            method: As it was sent; unknown ones are counted together.
            status: The status code of the answer.
            duration_us: From the first byte of the request to the last of the answer.
        """
        route = self._routes.observe(route or UNMATCHED, duration_us)
        key = (route, method if method in METHODS else OTHER, str(status))
        self._requests[_room(self._requests, key)] += 1

    def operation(self, operation: str, outcome: str, duration_us: int, tenant: str) -> None:
        """Count a piece of work that ended, by what it was, how it ended, and for whom."""
        operation = self._operations.observe(operation, duration_us)
        self._outcomes[_room(self._outcomes, (operation, outcome))] += 1
        self._tenants.add(tenant)

    def queue_wait(self, duration_us: int) -> None:
        """Count how long admitted work had waited."""
        self._queue_wait.observe(duration_us)

    def decision(self, duration_us: int) -> None:
        """Count how long one decision took."""
        self._decision.observe(duration_us)

    def collect(
        self,
        *,
        gate: AdmissionGate,
        pools: Mapping[str, Pool[Any]],
        pressure: MemoryPressure,
        monitor: PerformanceMonitor,
        near: NearLimits,
        adaptive: Iterable[AdaptiveCapacity] = (),
    ) -> str:
        """Return everything as of now. What the store cannot tell is left out."""
        samples: dict[str, Samples] = {
            **self._counted(),
            **_admission(gate),
            **_limits(gate, near),
            **_pools(pools),
            "adaptive_limit_units": {(each.name,): each.units for each in adaptive},
            "degradation_score": {(): monitor.get_degradation_score()},
            "memory_used_bytes": {(): pressure.used_bytes},
            "memory_limit_bytes": {(): pressure.limits.limit_bytes},
            "memory_pressure": {(): pressure.under_pressure},
            "memory_pressure_events_total": {(): pressure.events},
        }
        return write(((family, samples[family.name]) for family in FAMILIES), prefix=PREFIX)

    def _counted(self) -> dict[str, Samples]:
        return {
            "build_info": {(self._version,): 1},
            "decision_duration_seconds": {(): self._decision},
            "queue_wait_seconds": {(): self._queue_wait},
            "operations_total": self._outcomes,
            "operation_duration_seconds": self._operations.samples,
            "tenant_operations_total": self._tenants.series(),
            "http_requests_total": self._requests,
            "http_request_duration_seconds": self._routes.samples,
        }


def _admission(gate: AdmissionGate) -> dict[str, Samples]:
    # Reasons that did not occur yet are there as 0: the step from absent to 1 is no increase.
    decisions: dict[tuple[str, ...], int] = {
        (reason,): 0 for reason in ("granted", *get_args(Reason))
    }
    decisions.update({(reason,): count for reason, count in dict(gate.decisions).items()})
    samples: dict[str, Samples] = {
        "decisions_total": decisions,
        "queue_depth": {(): gate.queue_depth},
        "leases_active": {},
        "capacity_units": {},
        "capacity_in_use": {},
    }
    with suppress(StoreUnavailable):
        capacities = shared_capacities(gate)
        samples["capacity_units"] = {(name,): each.units for name, each in capacities.items()}
        samples["capacity_in_use"] = {(name,): each.in_use for name, each in capacities.items()}
        samples["leases_active"] = {(): gate.leases_active}
    return samples


def _limits(gate: AdmissionGate, near: NearLimits) -> dict[str, Samples]:
    counted, names = gate.counted, [limit.name for limit in gate.policy.limits]
    usage: dict[tuple[str, ...], float] = {}
    with suppress(StoreUnavailable):
        usage = near.usage(gate)
    return {
        "leases_settled_total": {(): counted.get("settled", 0)},
        "limit_near_total": {(name,): near.counted[name] for name in names},
        "shadow_refused_total": {(name,): counted.get(f"shadowed:{name}", 0) for name in names},
        "keys_overflowed_total": {(name,): counted.get(f"overflowed:{name}", 0) for name in names},
        "tenant_quota_usage": usage,
    }


def _pools(pools: Mapping[str, Pool[Any]]) -> dict[str, Samples]:
    stats = {(name,): pool.stats() for name, pool in pools.items()}
    return {
        "pool_size": {name: each.total for name, each in stats.items()},
        "pool_in_use": {name: each.in_use for name, each in stats.items()},
        "pool_failed_total": {name: each.failed for name, each in stats.items()},
    }


def _room(known: Counter[tuple[str, ...]], key: tuple[str, ...]) -> tuple[str, ...]:
    """Return the key to count under: all `other` if the key is new and there is no room."""
    return key if key in known or len(known) < SERIES_MAX else (OTHER,) * len(key)
