"""Percentiles, histograms, and cyclictest's file of them."""

import math
import re

import numpy as np
import pytest

from edgeseq import timing
from edgeseq.bench import cyclictest, durations
from edgeseq.bench.case import Microseconds
from edgeseq.timing import SUBDIVISIONS


@pytest.mark.parametrize("permille", sorted(durations.PERMILLES.values()))
def test_a_percentile_needs_a_hundred_samples_beyond_it(permille: int) -> None:
    needed = math.ceil(100 * 1000 / (1000 - permille))
    found = np.arange(1, needed + 1, dtype=np.int64) * 1000
    assert durations.percentile_us(found[:-1], permille) is None
    assert durations.percentile_us(found, permille) == math.ceil(needed * permille / 1000)


def test_numbers_are_of_all_durations_in_any_order() -> None:
    found = np.random.default_rng(0).permutation(np.arange(1, 201)) * 1000
    numbers = durations.numbers(found)
    assert (numbers["p50_us"], numbers["p90_us"], numbers["max_us"]) == (100, None, 200)
    assert numbers["mean_us"] == pytest.approx(100.5)
    assert numbers["std_us"] == pytest.approx(math.sqrt((200**2 - 1) / 12))


def test_a_histogram_has_every_duration_in_a_narrow_bucket() -> None:
    found = np.random.default_rng(0).lognormal(9, 2, 5000).astype(np.int64)
    drawn = durations.histogram(found)
    edges = np.array(drawn["le_us"]) * 1000
    assert (np.diff(edges) > 0).all()
    assert min(drawn["count"]) > 0
    # Counted again, by the edges alone.
    assert np.cumsum(drawn["count"]).tolist() == [int((found <= round(edge)).sum()) for edge in edges]
    assert all(edge / (1 + 1 / SUBDIVISIONS) <= found[found <= round(edge)].max() for edge in edges)


def test_a_histogram_takes_what_is_longer_than_its_last_bucket() -> None:
    assert durations.histogram(np.array([1 << 50]))["count"] == [1]


def test_edges_are_those_of_the_buckets_that_a_service_counts_in() -> None:
    edges = timing.edges_ns()
    assert (np.diff(edges) > 0).all()
    found = np.unique(np.geomspace(1, 2**timing.LIMIT_BITS - 1, 5000).astype(np.int64))
    assert np.searchsorted(edges, found).tolist() == [timing._bucket(int(value)) for value in found]


def parsed(text: str) -> tuple[dict[int, list[int]], dict[str, list[int]], list[str]]:
    """Read a file as scripts for cyclictest do: rows by whitespace, footers by their names."""
    rows = {
        int(fields[0]): [int(field) for field in fields[1:]]
        for fields in (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    }
    footers = {
        match[1]: [int(field) for field in match[2].split()]
        for match in re.finditer(r"^# (Total|\w+ Latencies|Histogram Overflows):(.*)$", text, re.MULTILINE)
    }
    return rows, footers, re.findall(r"^# Thread \d+:.*$", text, re.MULTILINE)


def test_the_file_of_cyclictest_reads_back() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.integers(1500, 40_000, 5000), np.array([2999, 3000, 3001, 9_999_999, 10_000_000, 12_345_678])]
    text = cyclictest.text([durations.by_microseconds(column) for column in columns])
    rows, footers, threads = parsed(text)
    assert list(rows) == list(range(durations.COUNTED_US))
    for place, column in enumerate(columns):
        counted = [row[place] for row in rows.values()]
        assert counted == [int(((column >= us * 1000) & (column < us * 1000 + 1000)).sum()) for us in rows]
        assert footers["Total"][place] == sum(counted)
        assert footers["Min Latencies"][place] == column.min() // 1000
        assert footers["Avg Latencies"][place] == int(column.mean()) // 1000
        assert footers["Max Latencies"][place] == column.max() // 1000
    assert footers["Histogram Overflows"] == [0, 2]
    assert threads == ["# Thread 0:", "# Thread 1: 00004 00005"]


def test_the_file_looks_as_cyclictest_writes_it() -> None:
    column = Microseconds(counts=[0, 7, 3], beyond=0, beyond_at=[], min_ns=1200, mean_ns=1600.5, max_ns=2900)
    other = Microseconds(counts=[1], beyond=5, beyond_at=[2, 12], min_ns=300, mean_ns=9e6, max_ns=123_456_789)
    assert cyclictest.text([column, other]) == (
        "# Histogram\n"
        "000000 000000\t000001\n"
        "000001 000007\t000000\n"
        "000002 000003\t000000\n"
        "# Total: 000000010 000000001\n"
        "# Min Latencies: 00001 00000\n"
        "# Avg Latencies: 00001 09000\n"
        "# Max Latencies: 00002 123456\n"
        "# Histogram Overflows: 00000 00005\n"
        "# Histogram Overflow at cycle number:\n"
        "# Thread 0:\n"
        "# Thread 1: 00002 00012 # 00003 others\n"
        "\n"
    )
