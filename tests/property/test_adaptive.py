"""Adaptive limits on a server that is known: ten workers, a tenth of a second for each request."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.adaptive import (
    Aimd,
    Algorithm,
    Bounds,
    Gradient2,
    Sample,
    State,
    begin,
    observe,
)

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "adaptive_limits.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("adaptive_limits", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


simulation = load()

ALGORITHMS = [
    pytest.param(Aimd(latency_max_s=0.15), id="aimd"),
    pytest.param(Gradient2(), id="gradient2"),
]

samples = st.builds(
    Sample,
    latency_us=st.floats(0, 1e12),
    in_flight=st.floats(0, 1e9),
    dropped=st.booleans(),
)
algorithms = st.one_of(
    st.builds(
        Aimd,
        latency_max_s=st.none() | st.floats(0.001, 100),
        step=st.integers(1, 1_000),
        backoff=st.floats(0.1, 0.99),
    ),
    st.builds(
        Gradient2,
        tolerance=st.floats(1, 10),
        smoothing=st.floats(0.01, 1),
        queue=st.integers(1, 1_000),
        long_window=st.integers(10, 1_000),
        probe_every=st.integers(4, 100),
    ),
)


@given(
    algorithm=algorithms,
    bounds=st.tuples(st.integers(1, 1_000), st.integers(0, 10_000)),
    units=st.integers(0, 20_000),
    seen=st.lists(samples, max_size=50),
)
def test_the_limit_never_leaves_its_bounds(
    algorithm: Algorithm, bounds: tuple[int, int], units: int, seen: list[Sample]
) -> None:
    within = Bounds(minimum=bounds[0], maximum=bounds[0] + bounds[1])
    state = begin(algorithm, within, units)
    for sample in seen:
        state = observe(state, sample)
        assert within.minimum <= state.units <= within.maximum
        assert within.minimum <= state.level <= within.maximum


@pytest.fixture(scope="module")
def best_per_s() -> float:
    """What the server does at best behind a fixed limit: with more than enough in flight."""
    doors = [simulation.Door(units) for units in (10, 15, 20, 30)]
    return max(float(simulation.simulate(d.enter, d.leave).per_s) for d in doors)


@pytest.mark.parametrize("start", [2, 200])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_finds_the_knee_from_wherever_it_starts(
    algorithm: Algorithm, start: int, best_per_s: float
) -> None:
    door = simulation.Door(start, algorithm)
    found = simulation.simulate(door.enter, door.leave, seconds=900, warm_s=400)
    assert found.per_s >= 0.9 * best_per_s
    # Alone, a request takes 0.069 s at the median; behind no limit, minutes.
    assert found.latency_s(50) < 0.25
    assert found.latency_s(99) < 1.0
    assert max(list(door.ceilings)[-10_000:]) < 50


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_follows_a_server_that_becomes_slow_and_recovers(algorithm: Algorithm) -> None:
    def slowness(now_s: float) -> float:
        return 3.0 if 500 < now_s < 1_000 else 1.0

    if isinstance(algorithm, Aimd):
        algorithm = replace(algorithm, latency_max_s=0.45)
    door = simulation.Door(20, algorithm)
    slow = simulation.simulate(door.enter, door.leave, slowness=slowness, seconds=1_000, warm_s=750)
    assert 0.85 * 100 / 3 <= slow.per_s <= 1.02 * 100 / 3
    assert slow.latency_s(50) < 1.0

    door = simulation.Door(20, algorithm)
    after = simulation.simulate(
        door.enter, door.leave, slowness=slowness, seconds=1_500, warm_s=1_250
    )
    assert after.per_s >= 90
    assert after.latency_s(50) < 0.6


@pytest.mark.parametrize("per_s", [105.0, 200.0])
def test_gradient2_does_not_grow_without_end_while_the_demand_is_too_high(per_s: float) -> None:
    door = simulation.Door(20, Gradient2())
    found = simulation.simulate(door.enter, door.leave, per_s=per_s, seconds=1_200, warm_s=600)
    assert max(door.ceilings) < 60
    assert found.latency_s(50) < 0.3


def test_an_average_of_latencies_that_the_limit_caused_would_let_it_grow() -> None:
    """What the measurements are for: without them the same run drifts away."""
    door = simulation.Door(20, Gradient2(probe_every=1_000_000))
    simulation.simulate(door.enter, door.leave, seconds=1_800)
    assert door.ceilings[-1] > 60


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_limit_that_nobody_uses_stays_where_it_is(algorithm: Algorithm) -> None:
    state: State = begin(algorithm, Bounds(minimum=1, maximum=100), 40)
    for _ in range(200):
        state = observe(state, Sample(latency_us=100_000, in_flight=5))
    assert state.units == 40


@pytest.mark.parametrize(
    ("algorithm", "factor"),
    [pytest.param(Aimd(), 0.9, id="aimd"), pytest.param(Gradient2(), 0.9, id="gradient2")],
)
def test_drops_lower_the_limit_at_once_down_to_the_minimum(
    algorithm: Algorithm, factor: float
) -> None:
    state = begin(algorithm, Bounds(minimum=5, maximum=100), 40)
    state = observe(state, Sample(latency_us=100_000, in_flight=1, dropped=True))
    assert state.level == pytest.approx(40 * factor)
    for _ in range(200):
        state = observe(state, Sample(latency_us=100_000, in_flight=1, dropped=True))
    assert state.units == 5
