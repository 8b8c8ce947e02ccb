"""The zoo's pipelines on every backend, ended somewhere and taken up from the bytes of a checkpoint."""

import shutil
from pathlib import Path

import pytest
from keeping import Kept, Told

from edgeseq import config as configs
from edgeseq.service.checkpoint import decoded, encoded
from edgeseq.snapshot import Snapshot

ZOO = Path(__file__).parents[2] / "zoo"


def told(config: Path, last: Snapshot | None = None) -> tuple[list[str], list[tuple[Snapshot, int]]]:
    sink = Told()
    pipeline = configs.load(config, source={"pace": "fast"}).pipeline(sinks=[sink])
    pipeline.memory.keeper = keeper = Kept(sink, last, every=50)
    pipeline.run()
    return sink.lines, keeper.kept


LONG = [pytest.mark.long]


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("keyword", "native"),
        ("turbofan", "ort"),
        ("turbofan", "litert"),
        *(
            pytest.param(*each, marks=LONG)
            for each in (("turbofan", "native"), ("keyword", "ort"), ("keyword", "litert"))
        ),
    ],
)
def test_it_goes_on_bit_for_bit(name: str, backend: str, tmp_path: Path) -> None:
    shutil.copytree(ZOO / name, tmp_path / name)
    config = tmp_path / name / "pipeline.toml"
    text = config.read_text("utf-8")
    config.write_text(text.replace("[model]\n", f'[model]\nbackend = "{backend}"\n'), "utf-8")
    lines, kept = told(config)
    assert len(kept) > 2, "there is something to go on from"
    snapshot, before = kept[len(kept) // 2]
    rest, _ = told(config, decoded(encoded(snapshot, {}))[0])
    assert 0 < before < len(lines)
    assert lines[:before] + rest == lines
