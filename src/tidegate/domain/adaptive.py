"""How many may work at once, found by watching how long work takes and how it ends.

Two rules, each fed with one sample for every window of time. AIMD feels its way up and backs off
from drops and from a latency that the operator names. Gradient2 needs no such number: it compares
the latency of now with that of a long time, and shrinks in proportion when work takes longer.

Gradient2 differs from its source in two points, since there the limit grows without end while the
demand stays somewhat above what the server can do. The room for a queue is added only while
latency is as usual, not to every limit that was just reduced. And the long average itself is
measured at half of the limit from time to time: an average of latencies that the limit has caused
would follow it upwards, and forgive everything.

Source: Netflix concurrency-limits, Gradient2Limit and AIMDLimit, with its pull request 134; Chiu
and Jain, "Analysis of the increase and decrease algorithms", 1989; the pause for measuring is that
of Envoy's adaptive concurrency filter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tidegate.errors import InvalidLimit

UNITS_MAX = 1_000_000

WARM_SAMPLES = 10
"""The first samples count alike: there is no long time yet."""

GRADIENT_MIN = 0.5
"""However slow a window was, it at most halves the aim; drops count as that slow."""

DRIFTED, RECOVERY = 2.0, 0.95
"""A long average this many times the latency of now is of a bad time that is over; it then falls
by so much with each sample, and does not wait for the average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The least and the most that a limit may become."""

    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        """Refuse bounds that leave nothing. Raises InvalidLimit."""
        for field in ("minimum", "maximum"):
            value = getattr(self, field)
            if type(value) is not int or not 1 <= value <= UNITS_MAX:
                raise InvalidLimit(field, value, f"an integer 1..{UNITS_MAX}")
        if self.minimum > self.maximum:
            raise InvalidLimit("minimum", self.minimum, f"at most maximum, {self.maximum}")

    def clip(self, level: float) -> float:
        """Return the level, or the bound that it passed."""
        return min(float(self.maximum), max(float(self.minimum), level))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One window: the mean latency of what ended in it, and the mean of the units in flight.

    `dropped` says that too much of it failed or timed out. A window must be at least twice as long
    as work takes, so that all that was let in before a change has ended one window later.
    """

    latency_us: float
    in_flight: float
    dropped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimd:
    """Add `step` with each window that used half of the limit; times `backoff` when it is too much.

    Too much are drops, and a mean latency above `latency_max_s`; without it, drops alone.
    """

    latency_max_s: float | None = None
    step: int = 1
    backoff: float = 0.9

    def __post_init__(self) -> None:
        """Check every field. Raises InvalidLimit."""
        if self.latency_max_s is not None:
            _check("latency_max_s", self.latency_max_s, 1e-6, 86_400)
        _check("step", self.step, 1, UNITS_MAX)
        _check("backoff", self.backoff, 0.1, 0.99)

    def next(self, state: State, sample: Sample) -> State:
        """Return the state after a sample."""
        bound_us = None if self.latency_max_s is None else self.latency_max_s * 1e6
        level = state.level
        if sample.dropped or (bound_us is not None and sample.latency_us > bound_us):
            level *= self.backoff
        elif _is_used(state, sample):
            level += self.step
        return replace(state, level=state.bounds.clip(level))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradient2:
    """Follow the ratio of the long-term latency to that of now.

    Latency may be `tolerance` times the usual one. `smoothing` is how far a window moves the limit
    towards its aim, `queue` how many may wait inside the server. `long_window` and `probe_every`
    are counted in windows: of the long average, and between two measurements at half the limit.
    """

    tolerance: float = 1.5
    smoothing: float = 0.2
    queue: int = 4
    long_window: int = 600
    probe_every: int = 60

    def __post_init__(self) -> None:
        """Check every field. Raises InvalidLimit."""
        _check("tolerance", self.tolerance, 1, 100)
        _check("smoothing", self.smoothing, 0.01, 1)
        _check("queue", self.queue, 1, UNITS_MAX)
        _check("long_window", self.long_window, WARM_SAMPLES, UNITS_MAX)
        _check("probe_every", self.probe_every, 4, UNITS_MAX)

    @property
    def soon(self) -> int:
        """How many windows to count from, so that a measurement comes after few of them."""
        return max(0, self.probe_every - WARM_SAMPLES)

    def next(self, state: State, sample: Sample) -> State:
        """Return the state after a sample."""
        if state.probe == "settling":
            # What ends now was let in before the limit was halved, and tells of that time.
            return replace(state, probe="measuring")
        if state.probe == "measuring":
            measured_us = state.long_us if sample.dropped else sample.latency_us
            # Upwards half of the way: one window may be bad luck, and the next measurement comes.
            long_us = min(measured_us, (state.long_us + measured_us) / 2)
            # Far too high a limit is not waited out: the next measurement comes soon.
            fell = measured_us < 0.8 * state.long_us
            windows = self.soon if fell else 0
            return replace(state, long_us=long_us, probe=None, windows=windows)
        if not sample.dropped:
            state = self._averaged(state, sample.latency_us)
        if not sample.dropped and not _is_used(state, sample):
            return state
        windows = state.windows + 1
        return replace(
            state,
            level=self._moved(state, sample),
            windows=windows,
            probe="settling" if windows >= self.probe_every else None,
        )

    def _averaged(self, state: State, latency_us: float) -> State:
        """Take the latency into the long average."""
        seen = state.seen + 1
        weight = 1 / seen if seen <= WARM_SAMPLES else 2 / (self.long_window + 1)
        long_us = state.long_us + weight * (latency_us - state.long_us)
        if long_us > DRIFTED * latency_us:
            long_us *= RECOVERY
        return replace(state, long_us=long_us, seen=min(seen, WARM_SAMPLES))

    def _moved(self, state: State, sample: Sample) -> float:
        gradient = GRADIENT_MIN
        if not sample.dropped:
            usual_us = self.tolerance * state.long_us
            gradient = min(1.0, max(GRADIENT_MIN, usual_us / max(1.0, sample.latency_us)))
        queue = self.queue if gradient == 1.0 else 0
        aim = state.level * gradient + queue
        return state.bounds.clip(state.level + self.smoothing * (aim - state.level))


Algorithm = Aimd | Gradient2


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a limit stands, and what its rule remembers.

    `windows` are those since the last measurement of Gradient2, `probe` how far the present one is.
    """

    algorithm: Algorithm
    bounds: Bounds
    level: float
    long_us: float = 0.0
    seen: int = 0
    windows: int = 0
    probe: Literal["settling", "measuring"] | None = None

    @property
    def units(self) -> int:
        """The limit to put in force."""
        units = int(self.level)
        return units if self.probe is None else max(self.bounds.minimum, units // 2)


def begin(algorithm: Algorithm, bounds: Bounds, units: int) -> State:
    """Return the state of a limit that starts at so many units, or at the bound next to it."""
    windows = algorithm.soon if isinstance(algorithm, Gradient2) else 0
    return State(algorithm=algorithm, bounds=bounds, level=bounds.clip(units), windows=windows)


def observe(state: State, sample: Sample) -> State:
    """Return the state after one window."""
    return state.algorithm.next(state, sample)


def _is_used(state: State, sample: Sample) -> bool:
    """Return whether so much is in flight that the limit may be what holds work back."""
    return 2 * sample.in_flight >= state.units


def _check(field: str, value: float, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidLimit(field, value, f"{least:g}..{most:g}")
