"""Training, keeping and choosing models, on small made-up engines; the real ones where they are at hand."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeseq import bundle as bundles
from zoo.turbofan import judge
from zoo.turbofan import train as command
from zoo.turbofan.augment import Augmentation, Histories
from zoo.turbofan.data import CAP, Engine, Floats, labels
from zoo.turbofan.fit import Recipe, Trained, find_thresholds, runner, split, train
from zoo.turbofan.model import Turbofan, count
from zoo.turbofan.store import load, save

SHORT = Recipe(epochs=2, judge_every=1, batch=4)
DATA = "EDGESEQ_DATA"


def made_up(count: int = 8, cut: int = 0) -> list[Engine]:
    """Engines of 60 cycles and more whose sensors drift towards failure; the last `cut` cycles unseen."""
    random = np.random.default_rng(5)
    engines = []
    for number in range(1, count + 1):
        life = 55 + 5 * number
        wear = np.exp(-np.arange(life - 1, -1, -1) / 20)[:, None] * np.linspace(-3, 3, 24)
        values = np.concatenate([np.full((life, 3), [0, 0, 100]), random.normal(size=(life, 21)) + wear[:, 3:]], axis=1)
        engines.append(Engine(number, values[: life - cut].astype(np.float32)))
    return engines


def write(path: Path, engines: list[Engine]) -> None:
    rows = [
        f"{engine.number} {cycle} " + " ".join(f"{value:.5f}" for value in row)
        for engine in engines
        for cycle, row in enumerate(engine.values, start=1)
    ]
    path.write_text("\n".join(rows) + "\n", "ascii")


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(made_up(), "FD001", 3, SHORT)


def test_held_out_engines_teach_nothing(trained: Trained) -> None:
    """Whatever their sensors said, statistics and weights of each epoch would be the same."""
    altered = [
        Engine(engine.number, engine.values * 3 + 1) if engine.number in trained.held_out else engine
        for engine in made_up()
    ]
    one_epoch = dataclasses.replace(SHORT, judge_every=2)  # no choice of epoch, so that the weights can be compared
    plain, other = train(made_up(), "FD001", 3, one_epoch), train(altered, "FD001", 3, one_epoch)
    np.testing.assert_array_equal(plain.standardizer.mean, other.standardizer.mean)
    for name, weights in plain.module.state_dict().items():
        assert torch.equal(weights, other.module.state_dict()[name]), name
    assert plain.rmse_held_out != other.rmse_held_out


def test_training_repeats_and_depends_on_the_seed(trained: Trained) -> None:
    again = train(made_up(), "FD001", 3, SHORT)
    other = train(made_up(), "FD001", 4, SHORT)
    assert torch.equal(again.module.out.weight, trained.module.out.weight)
    assert not torch.equal(other.module.out.weight, trained.module.out.weight)


def test_training_learns() -> None:
    engines = made_up()
    random, learned = (train(engines, "FD001", 0, dataclasses.replace(SHORT, epochs=n)) for n in (1, 40))
    assert learned.rmse_held_out < random.rmse_held_out / 2


def test_epochs_are_reported() -> None:
    calls: list[int] = []
    train(made_up(), "FD001", 0, SHORT, lambda: calls.append(1))
    assert len(calls) == SHORT.epochs


def test_split_is_whole_and_differs_by_seed() -> None:
    engines = made_up(20)
    splits = [split(engines, 0.15, seed) for seed in range(3)]
    for fitted, held in splits:
        assert len(held) == 3
        assert {e.number for e in fitted} | {e.number for e in held} == set(range(1, 21))
        assert not {e.number for e in fitted} & {e.number for e in held}
    assert len({tuple(e.number for e in held) for _, held in splits}) == 3


def test_estimates_are_cycles_and_carried_state_is_causal(trained: Trained) -> None:
    frames = trained.calibration[0]
    run = runner(trained.module)
    whole = run(frames)
    assert whole.shape == (len(frames),)
    np.testing.assert_allclose(run(frames[:40]), whole[:40], atol=1e-3)


def test_size_is_within_the_limit() -> None:
    assert count(Turbofan(21)) <= 100_000


def test_to_cycles_only_changes_the_unit() -> None:
    torch.manual_seed(0)
    module = Turbofan(5)
    frames = torch.randn(2, 9, 5)
    before = module(frames)
    module.to_cycles()
    torch.testing.assert_close(module(frames), before * CAP)


def test_saved_models_come_back(trained: Trained, tmp_path: Path) -> None:
    save(trained, tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    frames = trained.calibration[1]
    np.testing.assert_array_equal(runner(back.module)(frames), runner(trained.module)(frames))
    assert [len(f) for f in back.calibration] == [len(f) for f in trained.calibration]
    values = made_up()[0].values
    np.testing.assert_array_equal(back.standardizer(values), trained.standardizer(values))
    for name in ("subset", "seed", "epoch", "rmse_held_out", "held_out", "thresholds"):
        assert getattr(back, name) == getattr(trained, name)


def test_unchanged_batches_are_the_recorded_lives() -> None:
    frames = [np.random.default_rng(k).normal(size=(n, 4)).astype(np.float32) for k, n in enumerate((150, 60))]
    plain = Augmentation(midlife=0, stretch=0, offset=0, noise=0)
    batch = Histories.pad(frames).batch(torch.tensor([1, 0]), plain, torch.Generator().manual_seed(0))
    assert batch.valid.sum(dim=1).tolist() == [60, 150]
    np.testing.assert_array_equal(batch.frames[0, :60], frames[1])
    np.testing.assert_array_equal(batch.frames[1], frames[0])
    np.testing.assert_allclose(batch.label[1] * CAP, labels(150), rtol=1e-6)


def test_changed_batches_still_end_at_failure() -> None:
    marked = np.zeros((200, 1), np.float32)
    marked[-1] = 50
    how = Augmentation(midlife=1, stretch=0.3)
    batch = Histories.pad([marked] * 50).batch(torch.arange(50), how, torch.Generator().manual_seed(0))
    lengths = batch.valid.sum(dim=1)
    assert lengths.min() < 60
    assert lengths.max() <= 200 * np.exp(0.3)
    for row, length in enumerate(lengths):
        assert batch.frames[row, length - 1, 0] > 40
        assert batch.label[row, length - 1] == 0


def test_thresholds_alert_in_time() -> None:
    exact = [labels(life) for life in (150, 200, 250)]
    assert find_thresholds(exact) == {"warning": 50, "critical": 20}
    late: list[Floats] = [label + np.float32(10) for label in exact]
    assert find_thresholds(late) == {"warning": 60, "critical": 30}


@pytest.mark.long
def test_command_trains_chooses_saves_and_reads_the_test_set_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train_FD003.txt", made_up())
    write(tmp_path / "test_FD003.txt", made_up(4, cut=20))
    (tmp_path / "RUL_FD003.txt").write_text("20\n20\n20\n20\n", "ascii")
    output = tmp_path / "out"
    read: list[str] = []

    def noted(folder: Path, part: str, subset: str) -> Any:
        if part == "test":
            assert len(list(output.glob("seed-*.npz"))) == 2, "everything is chosen and saved before"
        read.append(part)
        return command_read(folder, part, subset)

    command_read = command.read_engines
    for module in (command, judge):
        monkeypatch.setattr(module, "read_engines", noted)
    threads = torch.get_num_threads()
    try:
        arguments = ["--data", str(tmp_path), "--subset", "FD003", "--seeds", "0", "1", "--epochs", "25"]
        assert command.main([*arguments, "--output", str(output)]) == 0
    finally:
        torch.set_num_threads(threads)
    assert read == ["train", "test"]
    numbers = json.loads((output / "numbers.json").read_text("utf-8"))
    assert set(numbers["variants"]) == {"trained", "float32", "int8", "w8a16"}
    for variant, over in numbers["variants"].items():
        both = [seed["test"][variant]["whole.rmse_capped"] for seed in numbers["seeds"]]
        assert over["mean"]["whole.rmse_capped"] == pytest.approx(np.mean(both))
        assert over["std"]["whole.rmse_capped"] == pytest.approx(np.std(both, ddof=1))
    assert numbers["variants"]["float32"]["mean"]["parity.max"] < 1e-2
    held = [seed["rmse_held_out"] for seed in numbers["seeds"]]
    assert numbers["shipped_seed"] == int(np.argmin(held))
    assert f"seed {numbers['shipped_seed']} ships" in capsys.readouterr().out
    shipped = numbers["seeds"][numbers["shipped_seed"]]["test"]
    manifest = bundles.read(output / "bundle").manifest
    assert manifest.accuracy == {variant: shipped[variant] for variant in ("float32", "int8", "w8a16")}
    assert {f.float_macs for f in manifest.files if f.variant == "int8"} == {0}


def test_command_explains_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--data", str(tmp_path), "--epochs", "1", "--output", str(tmp_path)]) == 1
    assert "holds neither train_FD001.txt nor" in capsys.readouterr().err


def test_real_training_engines_are_learned() -> None:
    folder = os.environ.get(DATA)
    if not folder:
        pytest.skip(f"needs NASA's C-MAPSS files in the folder 'cmapss' of {DATA}")
    engines = command.read_engines(Path(folder) / "cmapss", "train", "FD001")
    result = train(engines, "FD001", 0, dataclasses.replace(Recipe(), epochs=15))
    assert len(result.standardizer.channels) == 14
    assert result.rmse_held_out < 16
