"""The text that Prometheus reads, read back by the parser of its own client library."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tidegate.domain.exposition import OTHER, Busiest, Family, Histogram, Samples, Value, write

GAUGE = Family(name="depth", kind="gauge", help="How deep.", labels=("place",))
COUNTER = Family(name="drops_total", kind="counter", help="Drops.")
DURATION = Family(name="wait_seconds", kind="histogram", help="Waits.", labels=("place",))

LABEL = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def parsed(*families: tuple[Family, Samples]) -> dict[str, Metric]:
    text = write(families, prefix="t_")
    return {metric.name: metric for metric in text_string_to_metric_families(text)}


def test_the_text_as_it_is_written() -> None:
    waits = Histogram((1_000, 2_500_000))
    for duration_us in (1_000, 1_001, 9_000_000):
        waits.observe(duration_us)
    families: list[tuple[Family, Samples]] = [
        (COUNTER, {(): 7}),
        (DURATION, {("b",): waits}),
        (GAUGE, {("b",): 2.5, ("a",): True}),
    ]
    assert write(families, prefix="t_") == (
        "# HELP t_drops_total Drops.\n"
        "# TYPE t_drops_total counter\n"
        "t_drops_total 7\n"
        "# HELP t_wait_seconds Waits.\n"
        "# TYPE t_wait_seconds histogram\n"
        't_wait_seconds_bucket{place="b",le="0.001"} 1\n'
        't_wait_seconds_bucket{place="b",le="2.5"} 2\n'
        't_wait_seconds_bucket{place="b",le="+Inf"} 3\n'
        't_wait_seconds_sum{place="b"} 9.002001\n'
        't_wait_seconds_count{place="b"} 3\n'
        "# HELP t_depth How deep.\n"
        "# TYPE t_depth gauge\n"
        't_depth{place="a"} 1\n'
        't_depth{place="b"} 2.5\n'
    )


@given(st.dictionaries(LABEL, st.floats() | st.integers(-(2**53), 2**53), max_size=5), LABEL)
def test_any_label_and_number_survives(values: dict[str, float], text: str) -> None:
    family = Family(name="depth", kind="gauge", help=f"a\\b\n{text}", labels=("place",))
    metric = parsed((family, {(label,): value for label, value in values.items()}))["t_depth"]
    read = {sample.labels["place"]: sample.value for sample in metric.samples}
    assert read.keys() == values.keys()
    for label, value in values.items():
        assert read[label] == value or (math.isnan(value) and math.isnan(read[label]))


def test_the_order_is_that_of_the_labels_and_not_of_their_arrival() -> None:
    one: dict[tuple[str, ...], Value] = {("b",): 1, ("a",): 2}
    assert write([(GAUGE, one)], prefix="") == write(
        [(GAUGE, dict(reversed(one.items())))], prefix=""
    )


def test_a_help_text_stays_one_line() -> None:
    family = Family(name="depth", kind="gauge", help="one\\two\nthree")
    first = write([(family, {})], prefix="").splitlines()[0]
    assert first == "# HELP depth one\\\\two\\nthree"


@given(
    st.lists(st.integers(-5, 12_000_000)),
    st.lists(st.integers(1, 10_000_000), unique=True, min_size=1).map(sorted),
)
def test_a_histogram_counts_each_duration_under_every_bound_it_fits(
    durations_us: list[int], bounds_us: list[int]
) -> None:
    histogram = Histogram(tuple(bounds_us))
    for duration_us in durations_us:
        histogram.observe(duration_us)
    samples = parsed((DURATION, {("a",): histogram}))["t_wait_seconds"].samples
    buckets = [sample.value for sample in samples if sample.name.endswith("_bucket")]
    expected = [sum(each <= bound for each in durations_us) for bound in bounds_us]
    assert buckets == [*expected, len(durations_us)]
    totals = {sample.name.rpartition("_")[2]: sample.value for sample in samples}
    assert totals["count"] == len(durations_us)
    assert totals["sum"] == sum(max(0, each) for each in durations_us) / 1e6


@pytest.mark.parametrize(
    ("name", "kind", "text", "labels"),
    [
        pytest.param("drops", "counter", "Drops.", (), id="a counter without _total"),
        pytest.param("depth_total", "gauge", "How deep.", (), id="a gauge with _total"),
        pytest.param("De-pth", "gauge", "How deep.", (), id="no name"),
        pytest.param("depth", "gauge", "How deep.", ("pla ce",), id="no label"),
        pytest.param("wait_seconds", "histogram", "Waits.", ("le",), id="the reserved label"),
        pytest.param("depth", "gauge", "", (), id="nothing said"),
    ],
)
def test_a_wrong_family_cannot_be_made(
    name: str, kind: str, text: str, labels: tuple[str, ...]
) -> None:
    with pytest.raises(AssertionError):
        Family(name=name, kind=kind, help=text, labels=labels)  # type: ignore[arg-type]


def test_values_must_fit_the_labels() -> None:
    with pytest.raises(ValueError, match="shorter"):
        write([(GAUGE, {(): 1})], prefix="")


def add(busiest: Busiest, counts: dict[str, int]) -> None:
    for key, count in counts.items():
        for _ in range(count):
            busiest.add(key)


def test_the_busiest_have_a_series_and_the_rest_are_summed() -> None:
    busiest = Busiest(shown_max=2)
    add(busiest, {"a": 1, "b": 5, "c": 3, "d": 2})
    assert busiest.series() == {("b",): 5, ("c",): 3, (OTHER,): 3}


def test_a_newcomer_brings_only_what_other_did_not_show() -> None:
    busiest = Busiest(shown_max=1)
    add(busiest, {"a": 3, "b": 2})
    assert busiest.series() == {("a",): 3, (OTHER,): 2}
    add(busiest, {"b": 2})
    assert busiest.series() == {("b",): 2, (OTHER,): 2}
    add(busiest, {"a": 4})
    assert busiest.series() == {("a",): 7, (OTHER,): 2}


def test_of_equals_those_shown_stay() -> None:
    busiest = Busiest(shown_max=2)
    add(busiest, {"x": 2, "y": 2})
    busiest.series()
    add(busiest, {"a": 2, "z": 2})
    assert busiest.series().keys() == {("x",), ("y",), (OTHER,)}


def test_a_key_named_other_makes_no_second_series() -> None:
    busiest = Busiest(shown_max=1)
    add(busiest, {OTHER: 3, "a": 1, "b": 1})
    assert busiest.series() == {("a",): 1, (OTHER,): 4}


def test_with_too_many_keys_the_quietest_half_is_summed_and_nothing_is_lost() -> None:
    busiest = Busiest(shown_max=1, keys_max=10)
    add(busiest, {f"key{number}": number for number in range(1, 11)})
    assert busiest.series() == {("key10",): 10, (OTHER,): 45}
    for number in range(1_000):
        busiest.add(f"one{number}")
    assert busiest.series() == {("key10",): 10, (OTHER,): 1_045}
    assert len(busiest._totals) <= 10
    assert busiest._written.keys() <= busiest._totals.keys()


@given(st.lists(st.sampled_from("abcdef") | st.none(), max_size=120))
def test_no_series_ever_falls_and_every_count_is_in_exactly_one(events: list[str | None]) -> None:
    busiest, seen, true = Busiest(shown_max=2, keys_max=100), Counter[str](), Counter[str]()
    for event in [*events, None]:
        if event is not None:
            busiest.add(event)
            true[event] += 1
            continue
        series = {labels[0]: value for labels, value in busiest.series().items()}
        assert len(series) <= 3
        for key, value in series.items():
            assert value >= seen[key]
            seen[key] = value
        assert sum(seen.values()) == sum(true.values())
        quietest_shown = min((true[key] for key in series if key != OTHER), default=0)
        assert all(true[key] <= quietest_shown for key in true.keys() - series.keys())
