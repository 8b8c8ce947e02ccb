"""TOML tables -> checked values; where a mistake stands; paths relative to the file."""

import tomllib
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from edgeseq import tables
from edgeseq.errors import BundleError, ConfigError

TEXT = """\
a = 1 # [not.a.table]
[x]
b = 2
[x.y]
"c" = 3
[[z]]
d = 4
[[z]]
d = 5
[[z.w]]
e = 6
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("a",), 1),
        (("x",), 2),
        (("x", "b"), 3),
        (("x", "y", "c"), 5),
        (("z", 0, "d"), 7),
        (("z", 1, "d"), 9),
        (("z", 1), 8),
        (("x", "absent"), 2),
        (("absent",), None),
    ],
)
def test_lines(keys: tuple[str | int, ...], line: int | None) -> None:
    assert tables.line_of(TEXT, keys) == line


def test_keys_as_a_person_writes_them() -> None:
    assert tables.dotted(("sinks", 1, "host")) == "sinks[1].host"


def test_the_mark_that_editors_of_windows_begin_a_file_with(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert tables.read(tmp_path / "x.toml").table == {"a": 1}


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    for content, message in [
        (b"\xff", r"not UTF-8 text \(byte 0\)"),
        (b"a = ", "not valid TOML"),
        (b"#" * (tables.MAX_BYTES + 1), "larger than 4 MiB"),
    ]:
        path.write_bytes(content)
        with pytest.raises(BundleError, match=message):
            tables.read(path, BundleError)
    with pytest.raises(ConfigError, match="cannot be read"):
        tables.read(tmp_path)


class Plug:
    def __init__(
        self,
        *,
        path: Path,
        other: Path | None = None,
        many: list[float | list[float]] | None = None,
        mode: str = "a",
        side: Literal["above", "below"] | float = 0.0,
    ) -> None:
        self.path, self.other, self.many, self.mode, self.side = path, other, many, mode, side


def keywords(tmp_path: Path, text: str) -> dict[str, object]:
    (tmp_path / "x.toml").write_text(text)
    document = tables.read(tmp_path / "x.toml")
    return tables.keywords(document, document.table, Plug)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    made = keywords(tmp_path, 'path = "d/data.csv"\nother = "/abs/file"')
    assert made == {"path": tmp_path / "d/data.csv", "other": Path("/abs/file")}
    assert keywords(tmp_path, 'path = "~/x"')["path"] == tmp_path / "me" / "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the key 'path' is missing"),
        ('path = ""', "line 1: path: expected a path as text"),
        ('path = "a\\u0000b"', "line 1: path: expected a path as text"),
        ('path = "~no-such-user-here/x"', "line 1: path: there is no home folder"),
        ('path = "x"\nmany = [1, ["x"]]', "line 2: many"),
        ('path = "x"\nmdoe = "b"', "line 2: mdoe: unknown key 'mdoe'. Did you mean 'mode'?"),
        ('path = "x"\nzzzzz = "b"', "Known here: many, mode, other, path, side"),
        (
            'path = "x"\nside = 2026-11-30',
            "line 2: side: expected a number or text, got a date: put it between quotation marks.",
        ),
        ('path = "x"\nside = "bellow"', "line 2: side: invalid enum value 'bellow'. Did you mean 'below'?"),
        ('path = "x"\nside = "left"', "line 2: side: invalid enum value 'left'. Known here: above, below."),
    ],
)
def test_keywords_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keywords(tmp_path, text)
    assert message in str(caught.value)


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    note: str = ""
    kind: Literal["classes", "forecast"] = "classes"


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[Inner]
    named: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[parts]]\nsize = 1\n[[parts]]\nszie = 2", "parts[1].szie: unknown key 'szie'. Did you mean 'size'?"),
        ('[[parts]]\nsize = "1"', "line 2: parts[0].size: expected a whole number, got text"),
        ("[parts]\nsize = 1", "line 1: parts: expected a list, got a table: each table of a list has a head in double"),
        ("[[parts]]\nnote = 'x'", "parts[0]: the key 'size' is missing"),
        (
            "[[parts]]\nsize = 1\nkind = 'class'",
            "parts[0].kind: invalid enum value 'class'. Did you mean 'classes'?",
        ),
        ("part = 1", "unknown key 'part'. Did you mean 'parts'?"),
    ],
)
def test_structs_that_are_wrong(text: str, message: str) -> None:
    document = tables.Document(Path("x.toml"), text, tomllib.loads(text))
    with pytest.raises(ConfigError) as caught:
        tables.convert(document, document.table, Outer)
    assert message in str(caught.value)
