"""Lines of text as rows, in any pieces; a line that is none is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import lines
from firmware_bridge.lines import LineDecoder


def fed(reader: lines.Reader, raw: bytes, cuts: int = 1) -> tuple[list[lines.Row | None], LineDecoder]:
    decoder = LineDecoder(reader)
    parts = [raw[at : at + cuts] for at in range(0, len(raw), cuts)]
    return [row for part in parts for row in decoder.feed(b"" + part)], decoder


@given(st.integers(1, 50))
def test_csv(cuts: int) -> None:
    raw = (
        b"7,1.5\n 10, 1.5,x,-2\r\n11,2e3,,3\n\n12,1\n13,1,2,3,4\n14,nan,1,2\n15,1e39,1,2\n16,\xff,1,2\n17,1,1,5\n18,1,1"
    )
    rows, decoder = fed(lines.csv(["ms", "b", "_", "a"], ["a", "b"], ","), raw, cuts)
    assert rows == [[-2.0, 1.5], [3.0, 2000.0], None, None, None, None, None, [5.0, 1.0]]
    assert decoder.good == 3
    assert decoder.dropped == {"no_row": 4, "not_utf8": 1}


def test_an_underscore_is_no_digit() -> None:
    assert fed(lines.csv(["a"], ["a"], ","), b"x\n1_5\n1.5\n")[0] == [None, [1.5]]


def test_csv_between_blanks() -> None:
    assert fed(lines.csv(["a", "b"], ["a", "b"], " "), b"x\n 1   2\t\n")[0] == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ('{"t": 1, "acc": {"x": 2.5, "y": "3"}}', [1.0, 2.5]),
        ('{"t": 1}', None),
        ('{"t": true, "acc": {"x": 2}}', None),
        ('{"t": null, "acc": {"x": 2}}', None),
        ('{"t": [1], "acc": {"x": 2}}', None),
        ('{"t": 1' + "0" * 400 + ', "acc": {"x": 2}}', None),
        ("[1, 2]", None),
        ("[" * 3000, None),
        ("nonsense", None),
    ],
)
def test_json(line: str, row: lines.Row | None) -> None:
    assert fed(lines.json_lines(["t", "acc.x"]), b"\n" + line.encode() + b"\n", 10_000)[0] == [row]


def test_a_regular_expression() -> None:
    reader = lines.pattern(["t", "h"], r"T=(?P<t>[-\d.]+)C(?:\s+H=(?P<h>\d+)%)?")
    assert fed(reader, b"\nnode 3: T=-4.5C H=61%\nT=3C\nhello\n")[0] == [[-4.5, 61.0], None, None]
    with pytest.raises(ValueError, match="no regular expression"):
        lines.pattern(["t"], "(")
    with pytest.raises(ValueError, match=r"no group \(\?P<h>\.\.\.\)"):
        lines.pattern(["t", "h"], "(?P<t>.)")


def test_memory_is_bounded_whatever_comes() -> None:
    decoder = LineDecoder(lines.csv(["a"], ["a"], ","))
    for _ in range(100):
        assert decoder.feed(b"1" * 10_000) == []
    assert len(decoder._rest) <= lines.MAX_LINE + 1
    assert decoder.feed(b"\n" + b"2" * 5000 + b"\n3\n") == [None, [3.0]]
    assert decoder.dropped == {"too_long": 1}
