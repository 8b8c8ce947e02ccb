"""What only a CSV file can have wrong: its text."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConfigError, EdgeseqError, SourceError
from edgeseq.sources import csv as module
from edgeseq.sources.csv import Csv


def source(path: Path, content: str | bytes, **more: Any) -> Csv:
    file = path / "data.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Csv(**{"path": file, "channels": ["a", "b"], "rate_hz": 1.0, **more})


def values(made: Csv) -> list[list[float]]:
    return [row for chunk in made for row in chunk.values.tolist()]


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ("a,b\n1,2\n3,4\n", {}),
        ("a,b\r\n1,2\r\n3,4", {}),
        ("\ufeffa,b\n1,2\n3,4\n", {}),
        (' a , "b"\n 1, "2"\n3,4\n\n  \n', {}),
        ("c;b;a\nx;2;1\ny;4;3\n", {"delimiter": ";"}),
        ("b\ta\n2\t1\n4\t3\n", {"delimiter": "\t"}),
        ("1,2\n3,4\n", {"header": ["a", "b"]}),
        ("1  2  \n\n 3 4\n", {"header": ["a", "b"], "delimiter": " "}),
        ("a b\n1   2\n3 4e0\n", {"delimiter": " "}),
    ],
)
def test_dialects(tmp_path: Path, content: str, more: dict[str, Any]) -> None:
    content = content.replace(' "', '"')
    assert values(source(tmp_path, content, **more)) == [[1, 2], [3, 4]]


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "NA", "n/a", "null", "inf", "-Infinity"])
def test_cells_without_a_value(tmp_path: Path, cell: str) -> None:
    made = source(tmp_path, f"a,b\n1,2\n{cell},4\n", missing="hold")
    assert values(made) == [[1, 2], [1, 4]]
    assert made.dropped == {"missing_held": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,b\n", "has a header but no rows"),
        ("a,b,a\n1,2,3\n", "has the column 'a' twice"),
        ("a,b\n1,x\n", "line 2, column 'b': 'x' is not a number"),
        ("a,b\n1,2\n\n3,1_000\n", "line 4, column 'b': '1_000' is not a number"),
        ('a,b\n1,2\n3,"1,5"\n', "line 3, column 'b': '1,5' is not a number. Decimal commas"),
        ("a,b\n1,2,3\n", "line 2: 3 cells where the header has 2"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells where the header has 2"),
        (b"a,b\n1,\xff\n", "not UTF-8"),
        (b"PAR1\x00\x00\x80\x81", "not UTF-8"),
        ('a,b\n1,"2\n', "not CSV: unexpected end of data"),
        ("a,b\n1," + "x" * 200 + "\n", "line 2, column 'b': 'xxxxxxxx"),
        ("a,b\n1," + "1" * (1 << 20) + "\n", "a line of over"),
        ("a,b\n1,\0\n", "line 2"),
    ],
)
def test_bad_text_is_one_sentence_with_its_place(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        values(source(tmp_path, content))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_text_cell_is_an_error_whatever_the_policy(tmp_path: Path) -> None:
    for missing in ("hold", "drop"):
        with pytest.raises(SourceError, match="'ok' is not a number"):
            values(source(tmp_path, "a,b\n1,2\nok,3\n", missing=missing))


def test_a_time_that_is_none_is_an_error_with_its_place(tmp_path: Path) -> None:
    for cell in ("noon", "", "nan", "inf", "1e30"):
        with pytest.raises(SourceError, match=r"line 3, column 't': .* is not a time in the format 's'"):
            values(source(tmp_path, f"t,a,b\n0,1,2\n{cell},3,4\n", time_column="t"))


def test_a_delimiter_is_one_character(tmp_path: Path) -> None:
    for delimiter in ("", "||", '"', "\n"):
        with pytest.raises(ConfigError, match="delimiter"):
            source(tmp_path, "a,b\n1,2\n", delimiter=delimiter)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        Csv(path=tmp_path, channels=["a"], rate_hz=1.0).check()


def test_the_quick_way_reads_what_the_careful_way_reads(tmp_path: Path) -> None:
    cells = [repr(float(x)) for x in np.random.default_rng(0).normal(size=2000)]
    content = "a,b\n" + "\n".join(f"{x},{y}" for x, y in zip(cells[::2], cells[1::2], strict=True))
    quick = values(source(tmp_path, content))
    careful = values(source(tmp_path, content + "\nnan,1\n", missing="drop"))
    assert quick == careful


@settings(max_examples=200, deadline=None)
@given(start=st.sampled_from([b"", b"a,b\n"]), rest=st.binary(max_size=60))
def test_no_bytes_make_a_traceback(tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes) -> None:
    made = source(tmp_path_factory.getbasetemp(), start + rest)
    with contextlib.suppress(EdgeseqError):
        made.check()
        values(made)


def test_a_row_of_empty_cells_is_a_row(tmp_path: Path) -> None:
    made = source(tmp_path, "a,b\n1,2\n,\n3,4\n", missing="drop")
    assert [chunk.t_ns.tolist() for chunk in made][:2] == [[0], [2 * 10**9]]


def test_blank_lines_are_rows_in_a_table_of_one_column_only(tmp_path: Path) -> None:
    one = source(tmp_path, "a\n1\n\n2\n\n\n", channels=["a"], missing="drop")
    assert values(one) == [[1], [2]]
    assert one.dropped == {"missing_dropped": 1}
    assert values(source(tmp_path, "a,b\n1,2\n\n3,4\n\n")) == [[1, 2], [3, 4]]


def test_memory_is_bounded(tmp_path: Path) -> None:
    made = source(tmp_path, "a,b\n" + "1,2\n" * 5000)
    assert max(len(chunk.t_ns) for chunk in made) <= module._table.BATCH_ROWS


def test_a_header_that_another_delimiter_divides_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no column 'a'\. .* Its cells may be divided by ';': delimiter"):
        list(source(tmp_path, "a;b\n1;2\n"))
