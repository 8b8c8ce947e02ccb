"""log_templates against drain3's own miner, on made and on real logs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_files import data
from text_streams import SPEC, through, tokens

from edgeseq.errors import ConfigError
from edgeseq.features import log_templates
from edgeseq.features.log_templates import MAX_LINE, LogTemplates

drain3 = pytest.importorskip("drain3", reason="needs the extra 'text': pip install 'edgeseq[text]'")

IP = r"\d+\.\d+\.\d+\.\d+(:\d+)?"
# The header of each log: what stands before the message.
HEADERS = {
    "HDFS": r"\d+ \d+ \d+ [A-Z]+ [^ ]+ ",
    "Linux": r"\w+ +\d+ [\d:]+ \w+ [^:]+: ",
    "OpenSSH": r"\w+ +\d+ [\d:]+ \w+ [^:]+: ",
}
LINES = [
    "Nov 29 host: user anna logged in from 10.0.0.1",
    "Nov 29 host: user ben logged in from 10.0.0.2",
    "Nov 29 host: disk sda1 is full",
    "",
    "Nov 30 host: user carl logged in from 10.0.0.3",
    "Nov 30 host: shutdown",
]
MASKS = {"IP": IP}
HEADER = r"\w+ \d+ host: "


def miner(masks: dict[str, str]) -> Any:
    from drain3.masking import MaskingInstruction  # noqa: PLC0415 - the extra may be missing
    from drain3.template_miner_config import TemplateMinerConfig  # noqa: PLC0415

    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for name, pattern in masks.items()]
    return drain3.TemplateMiner(config=config)


@pytest.fixture
def mined(tmp_path: Path) -> Path:
    log_templates.mine(LINES, tmp_path / "t.json", header=HEADER, masks=MASKS)
    return tmp_path / "t.json"


def test_lines_have_the_numbers_of_their_templates(mined: Path, tmp_path: Path) -> None:
    again = log_templates.mine(LINES, tmp_path / "again.json", header=HEADER, masks=MASKS)
    assert again == ["user <*> logged in from <IP>", "disk sda1 is full", "shutdown"]
    assert mined.read_bytes() == (tmp_path / "again.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    text = "\n".join(LINES) + "\r\nDec 1 host: user dora logged in from 10.9.9.9\nsomething else\n  \n"
    found = through(LogTemplates(templates=mined), text)
    assert tokens(found) == [0, 0, 1, 0, 2, 0, 3]
    assert [t for t, _ in found][:2] == [len(LINES[0]), len(LINES[0]) + 1 + len(LINES[1])], "at the line's end"
    assert tokens(through(LogTemplates(templates=mined, unknown=77), "what\n")) == [77]


def test_any_split_is_the_same(mined: Path) -> None:
    text = "\n".join(LINES * 3) + "\n"
    feature = LogTemplates(templates=mined)
    whole = through(feature, text)
    for step in (1, 7, 50):
        assert through(feature, text, range(0, len(text), step)) == whole


@pytest.mark.parametrize("log", HEADERS)
def test_real_logs_as_drain3s_own_miner(log: str, tmp_path: Path) -> None:
    text = (data("loghub") / log / f"{log}_2k.log").read_text("utf-8")
    lines = text.splitlines()
    masks = {"IP": IP, "BLK": r"blk_-?\d+"}
    templates = log_templates.mine(lines[:1000], tmp_path / "t.json", header=HEADERS[log], masks=masks)
    theirs = miner(masks)
    content = log_templates._Content(log_templates._read(tmp_path / "t.json"))
    bare = [content(line) for line in lines]
    plain = miner({})
    for line in bare[:1000]:
        plain.add_log_message(line)
    import re  # noqa: PLC0415

    for line in lines[:1000]:
        theirs.add_log_message(re.sub(f"^(?:{HEADERS[log]})", "", line))
    assert templates == [cluster.get_template() for cluster in theirs.drain.clusters]
    found = tokens(through(LogTemplates(templates=tmp_path / "t.json"), text + "\n", range(0, len(text), 1009)))
    matches = [theirs.match(re.sub(f"^(?:{HEADERS[log]})", "", line), "fallback") for line in lines]
    assert found == [len(templates) if match is None else match.cluster_id - 1 for match in matches]
    assert len(templates) not in found[:1000], "every line of the training has its template"


def test_inference_changes_nothing(mined: Path) -> None:
    before = mined.read_bytes()
    feature = LogTemplates(templates=mined)
    new = "Nov 30 host: door opened\n" * 3 + "Nov 30 host: user eva logged out from 10.0.0.3\n"
    assert tokens(through(feature, new)) == [3, 3, 3, 3]
    assert tokens(through(feature, new)) == [3, 3, 3, 3]
    assert mined.read_bytes() == before


def test_long_lines_and_no_line_ends_take_little_memory(tmp_path: Path) -> None:
    log_templates.mine(["word " * 5000, "other"], tmp_path / "t.json")
    feature = LogTemplates(templates=tmp_path / "t.json")
    assert tokens(through(feature, "word " * 9000 + "\nother\n", range(0, 45_000, 1003))) == [0, 1]
    through(feature, "x" * 100_000)
    assert len(feature._begun) == MAX_LINE


def test_a_nan_breaks_its_line(mined: Path) -> None:
    feature = LogTemplates(templates=mined)
    feature.open(SPEC)
    values = np.array([*map(ord, "Nov 30 host: shut"), np.nan, *map(ord, "shutdown\n"), 0.5, 10], np.float32)[:, None]
    np.testing.assert_array_equal(feature.push(np.arange(len(values)), values)[1][:, 0], [np.nan, 2, 3])


def test_a_masks_name_is_no_pattern(tmp_path: Path) -> None:
    assert log_templates.mine(["a 1"], tmp_path / "t.json", masks={r"\1": r"\d"}) == [r"a <\1>"]


def test_what_cannot_be_mined(tmp_path: Path) -> None:
    for more, message in (
        ({"header": "("}, "no regular expression"),
        ({"masks": {"A": "["}}, "no regular expression"),
        ({"depth": 2}, "depth"),
        ({"header": ".*"}, "there is no line to learn templates from"),
    ):
        with pytest.raises(ConfigError, match=message):
            log_templates.mine(["a line"], tmp_path / "t.json", **more)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_damaged_files(mined: Path) -> None:
    document = json.loads(mined.read_text("utf-8"))
    tree: dict[str, Any] = {"children": {"1": {"children": {}, "templates": [3]}}, "templates": []}
    for changed in (
        "",
        "[]",
        json.dumps(document | {"schema": 2}),
        json.dumps(document | {"py/object": "os.system"}),
        json.dumps(document | {"depth": 1}),
        json.dumps(document | {"templates": []}),
        json.dumps(document | {"tree": tree}),
        json.dumps(document | {"header": "("}),
        '{"tree": ' * 100_000,
    ):
        mined.write_text(changed, "utf-8")
        with pytest.raises(ConfigError):
            LogTemplates(templates=mined)
    mined.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no file of log templates"):
        LogTemplates(templates=mined)
    mined.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        LogTemplates(templates=mined)
