"""Training, judging and shipping, on made-up bearings; the shipped bundle on the real ones where they are at hand."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_bearings import packed
from shared_files import data

import edgeseq
from edgeseq import bundle as bundles
from edgeseq.cli import main as edgeseq_command
from zoo.bearing import picture, records, synthetic
from zoo.bearing import train as command
from zoo.bearing.data import DataError, Run, read_runs
from zoo.bearing.evaluate import FACTORS, Alerts, alerts, growth, rule
from zoo.bearing.fit import CAP_S, Recipe, Trained, labels, train
from zoo.bearing.frames import frames
from zoo.bearing.judge import leave_one_out, verdict
from zoo.bearing.ship import GOLDEN_RECORDS, VARIANTS

SHORT = Recipe(updates=2, batch=3)
HERE = Path(__file__).parents[2] / "zoo" / "bearing"
NUMBERS = json.loads((HERE / "numbers.json").read_text("utf-8"))


def made_up() -> list[Run]:
    return [synthetic.run(seed, records=24, condition=seed % 3 + 1) for seed in (20, 21, 22)]


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(made_up(), 3, SHORT)


def test_training_repeats_and_depends_on_the_seed(trained: Trained) -> None:
    again, other = train(made_up(), 3, SHORT), train(made_up(), 4, SHORT)
    assert torch.equal(again.module.out.weight, trained.module.out.weight)
    assert not torch.equal(other.module.out.weight, trained.module.out.weight)


def test_training_learns_what_a_new_bearing_shows() -> None:
    new = synthetic.run(30, records=24)
    little, much = (train(made_up(), 0, dataclasses.replace(SHORT, updates=n)) for n in (1, 60))
    errors = [verdict(new, model.estimates(new)).rmse_s for model in (little, much)]
    assert errors[1] < errors[0] / 2
    assert errors[1] < labels(new).std() / 1.5, "better than any constant"


def test_updates_are_reported() -> None:
    calls: list[int] = []
    train(made_up(), 0, SHORT, lambda: calls.append(1))
    assert len(calls) == SHORT.updates


def test_labels_end_at_zero_and_stay_at_the_cap() -> None:
    label = labels(synthetic.run(0, records=24))
    assert label[:14].tolist() == [CAP_S] * 14
    assert label[-3:].tolist() == [200, 100, 0]


def test_estimates_are_causal(trained: Trained) -> None:
    run = synthetic.run(8, records=12)
    begun = dataclasses.replace(run, t_s=run.t_s[:7], samples=run.samples[:7])
    np.testing.assert_allclose(trained.estimates(run)[:7], trained.estimates(begun), atol=1e-2)


def test_a_silent_channel_teaches_nothing() -> None:
    runs = made_up()
    runs[1].samples[4, :, 1] = 0
    with pytest.raises(DataError, match="without any signal"):
        train(runs, 0, SHORT)


def test_one_bearing_cannot_be_left_out() -> None:
    with pytest.raises(DataError, match="There is one bearing"):
        leave_one_out(made_up()[:1], [0], SHORT)


def test_the_command_explains_missing_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "holds no bearing" in capsys.readouterr().err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's output for two bearings on disk: one left out at a time, two updates."""
    folder = tmp_path_factory.mktemp("made")
    for place, run in enumerate(made_up()[:2], start=1):
        packed(folder / "data", f"Bearing{place}_1", run)
    threads = torch.get_num_threads()
    try:
        options = ["--seeds", "1", "0", "--updates", "2", "--output", str(folder / "out")]
        assert command.main(["--data", str(folder / "data"), *options]) == 0
    finally:
        torch.set_num_threads(threads)
    return folder


@pytest.mark.long
def test_the_command_judges_on_bearings_left_out(made: Path) -> None:
    document = json.loads((made / "out" / "numbers.json").read_text("utf-8"))
    assert document["shipped_seed"] == 1
    one, other = read_runs(made / "data")
    for left, learned in ((one, other), (other, one)):
        found = document["bearings"][left.name]
        assert set(found["seeds"]) == {"1", "0"}
        assert set(found["variants"]) == set(VARIANTS)
        expected = train([learned], 1, dataclasses.replace(Recipe(), updates=2)).estimates(left)
        np.testing.assert_allclose(found["estimates_s"], expected, atol=1)
        for factor in FACTORS:
            assert Alerts(**found["rules"][f"{factor:g}"]) == alerts(left.t_s, growth(left), rule(factor))
    rows = [found["variants"]["int8"]["rmse_s"] for found in document["bearings"].values()]
    accuracy = bundles.read(made / "out" / "bundle").manifest.accuracy
    assert set(accuracy) == set(VARIANTS)
    assert accuracy["int8"]["held_out.rmse_s"] == pytest.approx(np.mean(rows))
    drawn = picture.draw(document["bearings"])
    assert all(name in drawn for name in (one.name, other.name))
    assert drawn.count("<polyline") == 2 * 2


def replay(tmp_path: Path, bundle: Path, table: Path) -> list[dict[str, Any]]:
    """What `edgeseq replay` gives for a table of raw samples."""
    text = (HERE / "pipeline.toml").read_text("utf-8")
    text = text.replace("../../build/bearing/records.csv", str(table)).replace('"bundle"', f'"{bundle}"')
    (tmp_path / "pipeline.toml").write_text(text, "utf-8")
    output = tmp_path / "outputs.jsonl"
    assert edgeseq_command(["replay", str(tmp_path / "pipeline.toml"), "--output", str(output)]) == 0
    return [json.loads(line) for line in output.read_text("utf-8").splitlines()]


def outputs(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["type"] == "output"]


@pytest.mark.parametrize("which", ["shipped", pytest.param("made", marks=pytest.mark.long)])
def test_a_pipeline_takes_raw_samples(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Every record is a frame, and what the pipeline says of it is what the recipe computed."""
    bundle = bundles.read(HERE / "bundle" if which == "shipped" else request.getfixturevalue("made") / "out" / "bundle")
    run = dataclasses.replace(synthetic.run(9, records=6), name="made")
    records.write([run], tmp_path / "records.csv")
    said = outputs(replay(tmp_path, bundle.path, tmp_path / "records.csv"))
    model = edgeseq.load(bundle)
    expected = model.run(frames(run, bundle.manifest.features))[:, 0]
    assert len(said) == 6
    np.testing.assert_array_equal([np.float32(line["score"]) for line in said], expected)


def test_the_bundle_holds_made_up_goldens() -> None:
    with np.load(HERE / "bundle" / "features.npz", allow_pickle=False) as golden:
        expected = synthetic.run(0).samples[-GOLDEN_RECORDS:].reshape(-1, 3)
        np.testing.assert_allclose(golden["samples"], expected, atol=1e-5)
    with np.load(HERE / "bundle" / "parity.npz", allow_pickle=False) as golden:
        chain = bundles.read(HERE / "bundle").manifest.features
        life = frames(synthetic.run(1, condition=1), chain)
        np.testing.assert_allclose(golden["frames"][: len(life)], life, atol=1e-3)


def test_the_picture_is_of_the_numbers() -> None:
    assert (HERE / "lives.svg").read_text("utf-8") == picture.draw(NUMBERS["bearings"])


@pytest.fixture(scope="module")
def femto() -> list[Run]:
    return read_runs(data("femto"))


def test_the_rules_alerts_on_real_bearings_are_the_numbers(femto: list[Run]) -> None:
    assert [run.name for run in femto] == list(NUMBERS["bearings"])
    for run in femto:
        found = NUMBERS["bearings"][run.name]
        assert run.life_s == found["life_s"]
        for factor in FACTORS:
            assert Alerts(**found["rules"][f"{factor:g}"]) == alerts(run.t_s, growth(run), rule(factor))


def test_no_golden_frame_is_of_a_real_bearing(femto: list[Run]) -> None:
    chain = bundles.read(HERE / "bundle").manifest.features
    with np.load(HERE / "bundle" / "parity.npz", allow_pickle=False) as golden:
        shipped = golden["frames"]
    for run in femto:
        real = frames(run, chain)
        assert np.abs(real[:, None] - shipped).max(axis=2).min() > 0.1


def test_the_shipped_bundle_on_a_real_bearing(femto: list[Run], tmp_path: Path) -> None:
    """A bearing that it learned from, as raw samples through the pipeline: an alert stands at its end."""
    run = min(femto, key=lambda each: each.life_s)
    records.write([run], tmp_path / "records.csv")
    said = outputs(replay(tmp_path, HERE / "bundle", tmp_path / "records.csv"))
    assert len(said) == len(run.t_s)
    assert said[-1]["level"] == "warning"
    assert said[len(said) // 2]["level"] == "ok"
