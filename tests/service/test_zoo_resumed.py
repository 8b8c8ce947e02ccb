"""The zoo's pipelines on every backend, and stages, ended somewhere and taken up from the bytes of a checkpoint."""

import shutil
from pathlib import Path

import pytest
import soundfile
from keeping import Kept, Told
from small_chains import ECHO, SPECTRAL, build, signal

from edgeseq import config as configs
from edgeseq.pipeline.snapshot import Snapshot
from edgeseq.service.checkpoint import decoded, encoded

ZOO = Path(__file__).parents[2] / "zoo"


def told(config: Path, last: Snapshot | None = None, every: int = 50) -> tuple[list[str], list[tuple[Snapshot, int]]]:
    sink = Told()
    pipeline = configs.load(config, source={"pace": "fast"}).pipeline(sinks=[sink])
    pipeline.memory.keeper = keeper = Kept(sink, last, every)
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


@pytest.mark.parametrize("stages", [ECHO, SPECTRAL], ids=["echo", "spectral"])
def test_stages_go_on_bit_for_bit(stages: str, tmp_path: Path) -> None:
    build(tmp_path, stages)
    # No number of steps: what waits for the rest of its step is remembered, too.
    soundfile.write(tmp_path / "in.wav", signal(20_001), 16000, subtype="FLOAT")
    lines, kept = told(tmp_path / "pipeline.toml", every=1)
    snapshot, before = kept[0]
    assert 0 < before < len(lines)
    rest, _ = told(tmp_path / "pipeline.toml", decoded(encoded(snapshot, {}))[0])
    assert lines[:before] + rest == lines
