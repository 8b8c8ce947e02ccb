"""csv and parquet give the same chunks of the same table, refuse bad ones with a place, and count what they repair."""

import contextlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConfigError, EdgeseqError, SourceError
from edgeseq.sources import _table
from edgeseq.sources.csv import Csv
from edgeseq.sources.parquet import Parquet
from edgeseq.types import Chunk

Table = dict[str, list[Any]]
Make = Callable[..., Any]
SECOND = 10**9


def write_csv(path: Path, table: Table) -> Path:
    rows = zip(*table.values(), strict=True)
    lines = [",".join(table), *(",".join("" if cell is None else str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def write_parquet(path: Path, table: Table) -> Path:
    pq.write_table(pa.table(table), path, row_group_size=7)
    return path


@pytest.fixture(params=["csv", "parquet"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Give a function (table, **parameters) -> source, once for each format."""

    def make(table: Table, **more: Any) -> Any:
        path = tmp_path / f"table.{request.param}"
        if request.param == "csv":
            return Csv(**{"path": write_csv(path, table), "channels": ["a"], "rate_hz": 1.0, **more})
        return Parquet(**{"path": write_parquet(path, table), "channels": ["a"], "rate_hz": 1.0, **more})

    return make


def told(source: Any) -> list[tuple[str, list[int], list[list[float]], bool, bool]]:
    return [(c.stream, c.t_ns.tolist(), c.values.tolist(), c.gap, c.last) for c in source]


def by_stream(source: Any) -> dict[str, list[tuple[int, tuple[float, ...], bool]]]:
    """Return each stream's samples as (time, values, gap before it)."""
    streams: dict[str, list[tuple[int, tuple[float, ...], bool]]] = {}
    for chunk in source:
        for row, (t_ns, values) in enumerate(zip(chunk.t_ns.tolist(), chunk.values.tolist(), strict=True)):
            streams.setdefault(chunk.stream, []).append((t_ns, tuple(values), chunk.gap and row == 0))
    return streams


def test_one_stream(make: Make) -> None:
    source = make({"b": [1, 2, 3], "a": [0.5, 1.5, 2.5]}, channels=["a", "b"], rate_hz=2.0)
    chunks = told(source)
    assert chunks[0] == ("", [0, SECOND // 2, SECOND], [[0.5, 1], [1.5, 2], [2.5, 3]], False, False)
    assert chunks[-1] == ("", [], [], False, True)
    assert source.spec.names == ("a", "b")


def test_a_channel_may_be_called_otherwise_than_its_column(make: Make) -> None:
    source = make({"s1": [7]}, channels=[_table.Column(name="a", column="s1", unit="V")])
    assert (source.spec.channels[0].name, source.spec.channels[0].unit) == ("a", "V")
    assert by_stream(source) == {"": [(0, (7.0,), False)]}


def test_streams_in_the_file_s_order_with_their_ends(make: Make) -> None:
    source = make({"u": [1, 1, 2, 1, 2], "a": [10, 11, 20, 12, 21]}, stream_column="u")
    assert told(source) == [
        ("1", [0, SECOND], [[10], [11]], False, False),
        ("2", [0], [[20]], False, False),
        ("1", [2 * SECOND], [[12]], False, True),
        ("2", [SECOND], [[21]], False, True),
    ]


def test_streams_side_by_side(make: Make) -> None:
    source = make({"u": [1, 1, 1, 2, 2], "a": [10, 11, 12, 20, 21]}, stream_column="u", interleave=True)
    assert [(c[0], c[1][0] // SECOND, c[2][0][0], c[4]) for c in told(source)] == [
        ("1", 0, 10, False),
        ("2", 0, 20, False),
        ("1", 1, 11, False),
        ("2", 1, 21, True),
        ("1", 2, 12, True),
    ]


def test_only_some_streams(make: Make) -> None:
    source = make({"u": [1, 2, 3], "a": [10, 20, 30]}, stream_column="u", streams=[3, "1"])
    assert by_stream(source) == {"1": [(0, (10.0,), False)], "3": [(0, (30.0,), False)]}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_interleaving_changes_the_order_and_nothing_else(make: Make, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    cell = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))
    table = {
        "u": data.draw(st.lists(st.sampled_from("xyz"), min_size=count, max_size=count)),
        "a": [0.5, *data.draw(st.lists(cell, min_size=count - 1, max_size=count - 1))],
    }
    missing = data.draw(st.sampled_from(["hold", "drop"]))
    plain = make(table, stream_column="u", missing=missing)
    merged = make(table, stream_column="u", missing=missing, interleave=True)
    assert by_stream(plain) == by_stream(merged)
    assert plain.dropped == merged.dropped
    times = [
        chunk.t_ns[0] for chunk in make(table, stream_column="u", missing=missing, interleave=True) if len(chunk.t_ns)
    ]
    assert times == sorted(times)


@pytest.mark.parametrize("batch", [1, 2, 3, 1000])
@pytest.mark.parametrize("missing", ["hold", "drop"])
def test_the_size_of_batches_does_not_show(
    make: Make, batch: int, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"u": list("xxyyxxyxxxyy"), "a": [None, 1, None, 2, 3, None, None, None, 4, 5, 6, None]}
    whole = make(table, stream_column="u", missing=missing)
    expected = by_stream(whole)
    monkeypatch.setattr(_table, "BATCH_ROWS", batch)
    split = make(table, stream_column="u", missing=missing)
    assert by_stream(split) == expected
    assert split.dropped == whole.dropped


def test_missing_is_an_error_with_its_place(make: Make) -> None:
    with pytest.raises(SourceError, match=r"(line 3|row 2), column 'a': there is no value"):
        list(make({"a": [1.0, None, 2.0]}))


def test_missing_values_are_held(make: Make) -> None:
    source = make({"a": [None, 1.0, None, math.inf, 2.0], "b": [1, 2, 3, 4, 5]}, channels=["a", "b"], missing="hold")
    assert by_stream(source)[""] == [
        (SECOND, (1, 2), False),
        (2 * SECOND, (1, 3), False),
        (3 * SECOND, (1, 4), False),
        (4 * SECOND, (2, 5), False),
    ]
    assert source.dropped == {"missing_at_start": 1, "missing_held": 2}


def test_rows_with_missing_values_are_dropped_and_leave_a_gap(make: Make) -> None:
    source = make({"a": [1.0, None, None, 2.0, 3.0]}, missing="drop")
    assert by_stream(source)[""] == [(0, (1,), False), (3 * SECOND, (2,), True), (4 * SECOND, (3,), False)]
    assert source.dropped == {"missing_dropped": 2}


def test_missing_values_are_left_to_the_features(make: Make) -> None:
    values = np.concatenate([chunk.values for chunk in make({"a": [None, math.nan, 2.0]}, missing="keep")])
    np.testing.assert_array_equal(values, [[np.nan], [np.nan], [2]])


def test_a_stream_of_which_nothing_is_left_still_ends(make: Make) -> None:
    for interleave in (False, True):
        source = make({"u": ["x", "y"], "a": [None, 1]}, stream_column="u", missing="drop", interleave=interleave)
        assert ("x", [], [], False, True) in told(source)


@pytest.mark.parametrize(
    ("cells", "unit", "expected"),
    [
        ([1.5, 2.5], "s", [1_500_000_000, 2_500_000_000]),
        ([1700000000123, 1700000000124], "ms", [1700000000123000000, 1700000000124000000]),
        ([1700000000123456789, 1700000000123456790], "ns", [1700000000123456789, 1700000000123456790]),
        (["1970-01-01T00:00:01.000000001Z", "1970-01-01 01:00:02+01:00"], "iso", [1_000_000_001, 2_000_000_000]),
    ],
)
def test_times(make: Make, cells: list[Any], unit: str, expected: list[int]) -> None:
    source = make({"t": cells, "a": [1, 2]}, time_column="t", time_format=unit)
    assert [t for t, _, _ in by_stream(source)[""]] == expected


def test_a_leap_in_time_is_a_gap(make: Make) -> None:
    source = make({"t": [0, 1, 2.4, 4, 5], "a": [1, 2, 3, 4, 5]}, time_column="t")
    assert [gap for _, _, gap in by_stream(source)[""]] == [False, False, False, True, False]


def test_each_stream_s_time_is_its_own(make: Make) -> None:
    table = {"u": [1, 2, 1, 2, 2], "t": [0, 50, 5, 51, 60], "a": [1, 2, 3, 4, 5]}
    streams = by_stream(make(table, stream_column="u", time_column="t"))
    assert [gap for _, _, gap in streams["1"]] == [False, True]
    assert [gap for _, _, gap in streams["2"]] == [False, False, True]
    with pytest.raises(SourceError, match="time runs backwards"):
        list(make({**table, "t": [7, 50, 5, 51, 60]}, stream_column="u", time_column="t"))


def test_time_that_runs_backwards_is_an_error(make: Make) -> None:
    table = {"u": [1, 2, 1, 1], "t": [5, 0, 6, 4], "a": [1, 2, 3, 4]}
    with pytest.raises(SourceError, match=r"(line 5|row 4), column 't': time runs backwards"):
        list(make(table, stream_column="u", time_column="t"))


@pytest.mark.parametrize(
    ("times", "more"),
    [
        ([1, 9_000_000_000], {"start": "2026-01-01"}),
        (["2026-01-01", "3026-01-01"], {"time_format": "iso"}),
    ],
)
def test_a_time_that_64_bits_do_not_hold_is_an_error(make: Make, times: list[Any], more: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"column 't'.* not a time in the format"):
        list(make({"t": times, "a": [1, 2]}, time_column="t", **more))


def test_a_parquet_column_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table([[1.0], [2.0]], names=["a", "a"]), path)
    with pytest.raises(SourceError, match="has the column 'a' twice"):
        Parquet(path=path, channels=["a"], rate_hz=1.0).check()


def test_a_parquet_page_that_was_altered_is_an_error_where_it_has_a_checksum(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    table = pa.table({"a": [1.5, 2.5, 3.5]})
    pq.write_table(table, path, write_page_checksum=True, use_dictionary=False, compression="none")
    whole, value = path.read_bytes(), np.float64(2.5).tobytes()
    path.write_bytes(whole.replace(value, np.float64(2.25).tobytes(), 1))
    with pytest.raises(SourceError, match="not a whole Parquet file"):
        list(Parquet(path=path, channels=["a"], rate_hz=1.0))


def test_a_timestamp_that_64_bits_do_not_hold_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"t": pa.array([2**40], pa.timestamp("s")), "a": [1.0]}), path)
    with pytest.raises(SourceError, match="rows 1 to 1, column 't': a time lies beyond the years 1678 to 2262"):
        list(Parquet(path=path, channels=["a"], rate_hz=1.0, time_column="t"))


def test_times_start_where_told(make: Make) -> None:
    source = make({"a": [1, 2]}, start="2026-01-01T00:00:00Z")
    assert by_stream(source)[""][1][0] == 1767225601 * SECOND
    assert by_stream(make({"a": [1]}, start="now"))[""][0][0] > 1767225601 * SECOND


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"channels": ["b"]}, "has no column 'b'"),
        ({"channels": ["aa"]}, "Did you mean 'a'"),
        ({"stream_column": "unit"}, "has no column 'unit'"),
        ({"time_column": "t"}, "has no column 't'"),
        ({"stream_column": "u", "streams": ["press-11"]}, "no stream 'press-11'. Did you mean 'press-1'"),
        ({"channels": []}, "channels is empty"),
        ({"channels": ["a", "a"]}, "'a' twice"),
        ({"streams": [1]}, "streams needs stream_column"),
        ({"interleave": True}, "interleave needs stream_column"),
        ({"pace": 0}, "pace must be"),
        ({"pace": "slow"}, "pace must be"),
        ({"rate_hz": 0.0}, "rate_hz must be above 0"),
        ({"start": "yesterday"}, "start must be"),
        ({"missing": "ignore"}, "missing must be"),
        ({"path": Path("no-such-file")}, "no such file"),
    ],
)
def test_what_the_configuration_says_wrong(make: Make, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make({"a": [1.0], "u": ["press-1"]}, **more).check()


def test_a_key_that_is_empty_is_an_error(make: Make) -> None:
    with pytest.raises(SourceError, match=r"column 'u': a row that belongs to no stream"):
        list(make({"a": [1.0, 2.0], "u": ["x", " "]}, stream_column="u"))


def test_a_table_without_rows_is_an_error(make: Make) -> None:
    with pytest.raises(SourceError, match="no rows"):
        make({"a": [], "b": []}).check()


def test_a_value_beyond_float32_is_an_error(make: Make) -> None:
    with pytest.raises(SourceError, match=r"(line 3|row 2), column 'a': 1e\+39 is beyond what float32 holds"):
        list(make({"a": [1.0, 1e39]}))


def test_interleave_bounds_its_memory(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_table, "INTERLEAVE_MAX_BYTES", 30)
    with pytest.raises(SourceError, match="in memory"):
        list(make({"u": [1, 1, 1], "a": [1, 2, 3]}, stream_column="u", interleave=True))


def test_a_column_of_no_machines_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_table, "MAX_STREAMS", 2)
    with pytest.raises(ConfigError, match="does not tell machines apart"):
        make({"u": [1, 2, 3], "a": [1, 2, 3]}, stream_column="u").check()


def test_a_file_that_changes_meanwhile_is_an_error(make: Make) -> None:
    source = make({"u": [1, 1], "a": [1, 2]}, stream_column="u")
    source._prepare = lambda: {"1": 1}
    with pytest.raises(SourceError, match="changed while it was read"):
        list(source)


def test_samples_of_one_time_come_in_the_streams_order(make: Make) -> None:
    streams = ["z", "a", "m", "b"]
    table = {"u": [stream for stream in streams for _ in range(50)], "a": list(range(200))}
    chunks = list(make(table, stream_column="u", interleave=True))
    assert [chunk.stream for chunk in chunks] == streams * 50


def test_nothing_is_kept_of_streams_that_ended(make: Make) -> None:
    source = make({"u": list(range(50)), "a": list(range(50))}, stream_column="u", pace=1e6)
    list(source)
    assert source._pace._anchors == {}


@pytest.mark.parametrize("interleave", [False, True])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_source_may_be_closed_while_it_reads(
    make: Make, *, interleave: bool, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_table, "BATCH_ROWS", 2)
    source = make({"u": [1, 2] * 6, "a": list(range(12))}, stream_column="u", interleave=interleave)
    reader = source._reader
    before = (reader.keys, reader.batches)
    calls = []

    def closing(function: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            for part in function(*arguments):
                calls.append(part)
                if len(calls) == at + 1:
                    source.close()
                yield part

        return wrapped

    reader.keys, reader.batches = map(closing, before)
    assert len(list(source)) < 12


def test_paced_samples_come_in_the_same_order(make: Make) -> None:
    table = {"u": [1, 1, 1, 2, 2], "a": [10, 11, 12, 20, 21]}
    for interleave in (False, True):
        fast = make(table, stream_column="u", interleave=interleave)
        paced = make(table, stream_column="u", interleave=interleave, pace=1e6)
        assert by_stream(paced) == by_stream(fast)


def test_chunks_are_whole_for_the_pipeline(make: Make) -> None:
    count = 5000
    chunks: list[Chunk] = list(make({"a": list(range(count))}))
    assert all(len(chunk.t_ns) <= _table.BATCH_ROWS for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate([c.values[:, 0] for c in chunks]), np.arange(count))


def test_a_damaged_parquet_file_is_one_sentence_whatever_byte_is_cut(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", {"a": list(range(50))})
    whole = path.read_bytes()
    for size in itertools.chain(range(20), range(20, len(whole), 37), [len(whole) - 1]):
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError, match="not a whole Parquet file"):
            list(Parquet(path=path, channels=["a"], rate_hz=1.0))


def test_a_parquet_file_with_flipped_bytes_is_an_error_of_ours_or_reads(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", {"a": [float(i) for i in range(50)]})
    whole = bytearray(path.read_bytes())
    for place in range(0, len(whole), 11):
        whole[place] ^= 0x41
        path.write_bytes(whole)
        whole[place] ^= 0x41
        with contextlib.suppress(EdgeseqError):
            list(Parquet(path=path, channels=["a"], rate_hz=1.0))


def test_parquet_timestamps_are_taken_as_they_are(tmp_path: Path) -> None:
    times = pa.array([1_000, 2_000], pa.timestamp("ms", tz="Europe/Berlin"))
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"t": times, "a": [1.0, 2.0]}), path)
    source = Parquet(path=path, channels=["a"], rate_hz=1.0, time_column="t")
    assert [t for t, _, _ in by_stream(source)[""]] == [SECOND, 2 * SECOND]


def test_a_parquet_column_of_text_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", {"a": ["1", "2"]})
    with pytest.raises(SourceError, match="column 'a': holds string, not numbers"):
        list(Parquet(path=path, channels=["a"], rate_hz=1.0))


def test_parquet_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"edgeseq\[parquet\]"):
        Parquet(path=Path("x"), channels=["a"], rate_hz=1.0)
