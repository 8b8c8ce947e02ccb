"""Training, keeping, choosing and shipping keyword models, on small made-up words; the shipped bundle on real ones."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from made_up_words import clips, write

import edgeseq
from edgeseq import bundle as bundles
from edgeseq.cli import main
from edgeseq.features.standardize import Standardize
from edgeseq.types import Channel, StreamSpec
from zoo.keyword import numbers
from zoo.keyword import train as command
from zoo.keyword.augment import Augmentation
from zoo.keyword.data import BANDS, CLASSES, RATE, SILENCE, UNKNOWN, DataError, Listener, part, read_clips
from zoo.keyword.evaluate import Heard, apart, find_threshold, in_a_row, judge, stream, tell
from zoo.keyword.fit import CLIP_STD, Recipe, Trained, hearing, standardized, train
from zoo.keyword.judge import Verdict
from zoo.keyword.model import CONTEXT, Keyword, count
from zoo.keyword.ship import VARIANTS, ship, stepping
from zoo.keyword.store import load, save
from zoo.networks import runner

DATA = "EDGESEQ_DATA"
HERE = Path(__file__).parents[2] / "zoo" / "keyword"
BUNDLE = HERE / "bundle"
SHORT = Recipe(updates=3, held_out=0.3, lanes=4, scene=3.0, width=8)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(clips(12), 3, SHORT)


def test_training_repeats_and_depends_on_the_seed(trained: Trained) -> None:
    again, other = train(clips(12), 3, SHORT), train(clips(12), 4, SHORT)
    assert torch.equal(again.module.out.weight, trained.module.out.weight)
    assert again.threshold == trained.threshold
    assert not torch.equal(other.module.out.weight, trained.module.out.weight)
    assert other.held_out != trained.held_out


def test_held_out_speakers_teach_nothing(trained: Trained) -> None:
    """Whatever they said, statistics and weights after the last update would be the same."""
    altered = [
        dataclasses.replace(one, samples=one.samples[::-1] * np.float32(0.5))
        if one.speaker in trained.held_out
        else one
        for one in clips(12)
    ]
    plain, other = train(clips(12), 3, SHORT), train(altered, 3, SHORT)
    np.testing.assert_array_equal(plain.mean, other.mean)
    for name, weights in plain.module.state_dict().items():
        assert torch.equal(weights, other.module.state_dict()[name]), name
    np.testing.assert_array_equal(plain.calibration, other.calibration)


def test_training_learns() -> None:
    plainly = Augmentation(speed=0.02, made_up=0, shift=0, tilt=0, stripes=0)
    recipe = Recipe(updates=120, held_out=0.3, lanes=8, width=16, dropout=0, smoothing=0, augmentation=plainly)
    model = train(clips(12), 0, recipe)
    held = [one for one in clips(12) if one.speaker in model.held_out]
    assert apart(hearing(runner(model.module), model.mean, model.std), held) > 0.6


def test_every_update_is_reported() -> None:
    calls: list[int] = []
    train(clips(12), 3, SHORT, lambda: calls.append(1))
    assert len(calls) == SHORT.updates


def test_a_class_without_speakers_is_explained() -> None:
    with pytest.raises(DataError, match="no clip of 'up' to learn from"):
        train([one for one in clips(12) if one.label != CLASSES.index("up")], 0, SHORT)


def test_an_output_depends_on_its_context_alone(trained: Trained) -> None:
    """So it is the same after years of sound as after CONTEXT frames, and depends on nothing that comes later."""
    frames = np.random.default_rng(0).normal(size=(300, BANDS)).astype(np.float32)
    run = runner(trained.module)
    whole = run(frames)
    np.testing.assert_allclose(run(frames[200 - CONTEXT : 201])[-1], whole[200], atol=1e-6)
    np.testing.assert_allclose(run(frames[:201]), whole[:201], atol=1e-6)
    frames[200 - CONTEXT] += 50
    assert not np.allclose(run(frames)[200], whole[200], atol=1e-6)


def test_what_is_heard_are_probabilities(trained: Trained) -> None:
    logits = np.array([[0, 1000, 0], [-1, 0, 1]], np.float32)
    heard = hearing(lambda _: logits, trained.mean, trained.std)(np.zeros(RATE, np.float32))
    weights = np.exp([-1, 0, 1])
    np.testing.assert_allclose(heard, [[0, 1, 0], weights / weights.sum()], rtol=1e-6)


def test_size_is_within_the_limit() -> None:
    assert count(Keyword()) <= 60_000


def test_the_runtime_standardizes_alike(trained: Trained) -> None:
    feature = Standardize(mean=trained.mean.tolist(), std=trained.std.tolist(), clip=CLIP_STD)
    feature.open(StreamSpec(tuple(Channel(f"mel{band}") for band in range(BANDS)), 50.0))
    frames = Listener()(trained.calibration)
    _, given = feature.push(np.zeros(len(frames), np.int64), frames)
    np.testing.assert_array_equal(given, standardized(frames, trained.mean, trained.std))


def test_thresholds_keep_false_words_rare() -> None:
    def babbles(share: float) -> Any:
        """Say a word of probability `share` all the time."""
        row = np.zeros(len(CLASSES), np.float32)
        row[SILENCE], row[5] = 1 - share, share
        return lambda sound: np.where((np.arange(len(sound) // 320) % 100 < 40)[:, None], row, np.eye(12)[0]).astype(
            np.float32
        )

    assert find_threshold(babbles(0.1), clips(3)) == 0.4
    assert find_threshold(babbles(0.71), clips(3)) == 0.72


def test_saved_models_come_back(trained: Trained, tmp_path: Path) -> None:
    save(trained, tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    frames = standardized(Listener()(trained.calibration), trained.mean, trained.std)
    np.testing.assert_array_equal(runner(back.module)(frames), runner(trained.module)(frames))
    for name in ("seed", "accuracy_held_out", "held_out", "threshold"):
        assert getattr(back, name) == getattr(trained, name)
    for name in ("mean", "std", "calibration"):
        np.testing.assert_array_equal(getattr(back, name), getattr(trained, name))


@pytest.mark.long
def test_command_trains_chooses_saves_and_judges_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, speakers=60)
    output = tmp_path / "out"
    judged: list[int] = []

    def noted(test: Any, candidates: Any) -> Any:
        assert len(list(output.glob("seed-*.npz"))) == 1, "everything is chosen and saved before"
        speakers = {one.speaker for one in test}
        assert not speakers & set(load(output / "seed-1.npz").held_out)
        judged.append(len(speakers))
        return judge_on_test(test, candidates)

    judge_on_test = command.judge_on_test
    monkeypatch.setattr(command, "judge_on_test", noted)
    arguments = ["--data", str(tmp_path), "--seeds", "1", "--output", str(output)]
    threads = torch.get_num_threads()
    try:
        assert command.main([*arguments, "--updates", "20"]) == 0
        assert len(judged) == 1
        document = json.loads((output / "numbers.json").read_text("utf-8"))
        (output / "numbers.json").unlink()
        weights = (output / "seed-1.npz").read_bytes()
        # An export of the same weights gives the same bundle; it would take most of a minute more.
        monkeypatch.setattr(command, "ship", lambda _, folder, *__: bundles.read(folder))
        assert command.main([*arguments, "--again"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert json.loads((output / "numbers.json").read_text("utf-8")) == document
    assert (output / "seed-1.npz").read_bytes() == weights
    assert document["shipped_seed"] == 1
    assert set(document["mean"]) == {"trained", *VARIANTS}
    assert document["mean"] == {v: document["seeds"][0]["test"][v] for v in document["mean"]}
    assert all(value == 0 for variant in VARIANTS for value in document["std"][variant].values())
    mean, base = document["mean"]["int8"], document["mean"]["float32"]
    for name, changed in document["against_float32"]["int8"].items():
        assert changed == {"mean": mean[name] - base[name], "standard_error": 0}
    assert "seed 1 ships" in capsys.readouterr().out
    bundle = bundles.read(output / "bundle")
    assert bundle.manifest.accuracy == {variant: document["mean"][variant] for variant in VARIANTS}
    # What hardly learned anything may keep a layer or two in more than 8 bits, which ONNX files do in float: which they
    # are hangs on how this processor rounded in training.
    files = [file for file in bundle.manifest.files if file.variant == "int8"]
    products = {Path(file.path).suffix: (file.integer_macs, file.float_macs) for file in files}
    assert products[".npz"] == products[".tflite"] == (sum(products[".onnx"]), 0)
    assert products[".onnx"][0] > 4 * products[".onnx"][1]


def test_command_explains_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--data", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert "holds no clips" in capsys.readouterr().err


def test_command_explains_a_seed_that_was_never_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    assert command.main(["--data", str(tmp_path), "--output", str(tmp_path), "--seeds", "7", "--again"]) == 1
    assert f"{tmp_path / 'seed-7.npz'}: there is no such file; train that seed first" in capsys.readouterr().err


def test_changes_are_means_over_seeds_with_their_errors() -> None:
    def verdict(share: float) -> Verdict:
        return Verdict(0.5, share, Heard(0.5, 1, 0, 0.1), 1)

    verdicts = {seed: {"float32": verdict(0.8), "int8": verdict(0.8 + change)} for seed, change in enumerate((1, 3, 5))}
    changed = numbers.against_float32(verdicts, "int8")
    assert changed["clips.in_a_row"] == pytest.approx({"mean": 3, "standard_error": 2 / np.sqrt(3)})
    assert changed["clips.apart"] == {"mean": 0, "standard_error": 0}


def test_int8_costs_at_most_a_tenth_of_a_point() -> None:
    """Of the clips recognized, each by itself and in a row, on the mean of five seeds."""
    document = json.loads((HERE / "numbers.json").read_text("utf-8"))
    assert len(document["seeds"]) == 5
    for measure in ("clips.apart", "clips.in_a_row"):
        assert document["against_float32"]["int8"][measure]["mean"] >= -0.001, measure


def test_the_readme_has_the_numbers() -> None:
    text = " ".join((HERE / "README.md").read_text("utf-8").replace("*", "").split())
    document = json.loads((HERE / "numbers.json").read_text("utf-8"))
    mean, std = document["mean"], document["std"]
    for measure, words in numbers.SHOWN.items():
        cells = [numbers.cell(mean[name][measure], std[name][measure], words) for name in mean]
        assert f"| {words} | {' | '.join(cells)} |" in text
    for name in ("float32", "int8"):
        by_seed = [100 * seed["test"][name]["clips.in_a_row"] for seed in document["seeds"]]
        assert f"{name} {', '.join(f'{share:.1f}' for share in by_seed)}" in text
    for name, changed in document["against_float32"].items():
        for measure in ("clips.apart", "clips.in_a_row"):
            assert re.search(rf"(?<![-\d]){re.escape(numbers.points(changed[measure]))}\b", text), (name, measure)
    assert f"Seed {document['shipped_seed']} ships" in text


@pytest.mark.long
def test_the_bundle_hears_as_the_recipe_does(trained: Trained, tmp_path: Path) -> None:
    """The bundle's own chain, from samples to logits, and the recipe's functions give the same bits."""
    bundle = ship(trained, tmp_path / "bundle")
    sound, _ = stream(clips(2), 0)
    run = stepping(edgeseq.load(bundle, variant="float32"))
    expected = run(standardized(Listener()(sound), trained.mean, trained.std))
    soundfile.write(str(tmp_path / "sound.wav"), sound, RATE, subtype="FLOAT")
    (tmp_path / "pipeline.toml").write_text(
        'name = "words"\nsource = { type = "audio", path = "sound.wav" }\n'
        'model = { bundle = "bundle", variant = "float32" }\n'
    )
    assert main(["replay", str(tmp_path / "pipeline.toml"), "--output", str(tmp_path / "out.parquet")]) == 0
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    np.testing.assert_array_equal(np.stack([table[name].to_numpy() for name in CLASSES], axis=1), expected)


def test_the_shipped_bundle_has_every_variant_for_every_backend() -> None:
    bundle = bundles.read(BUNDLE)
    proven = {(entry.variant, entry.backend) for entry in bundle.manifest.parity if entry.passed}
    assert proven == {(variant, backend) for variant in VARIANTS for backend in ("ort", "litert", "native")}
    sizes = {path.name: path.stat().st_size for path in BUNDLE.iterdir()}
    # A device needs one of the files, and its goldens.
    assert max(size for name, size in sizes.items() if name.startswith("step.int8")) < 70_000
    assert sum(sizes.values()) < 1_250_000
    # All that int8 computes is in 8 bits but for the first convolution, in 16: ONNX files compute that in float.
    files = [file for file in bundle.manifest.files if file.variant == "int8"]
    first = 40 // 2 * 12 * 3 * 5
    assert {file.integer_macs + file.float_macs for file in files} == {86_112}
    assert {file.format: file.float_macs for file in files} == {"onnx": first, "tflite": 0, "npz": 0}


def test_the_demo_finds_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("iotcore", reason="needs the extra 'demo': pip install 'edgeseq[demo]'")
    assert main(["demo", "keyword", "--json", "--report", str(tmp_path / "report.html")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["score"]["said"] == 20
    assert result["score"]["found"] >= 15
    assert result["score"]["wrong"] <= 2
    assert result["delivered"] == result["sent"] == 2 * result["alerts"]
    assert (result["variant"], result["backend"]) == ("int8", "native")


@pytest.mark.long
def test_the_shipped_bundle_has_its_numbers() -> None:
    """Its accuracy on the test's speakers, and on a stream of their words, is what bundle.toml says."""
    folder = os.environ.get(DATA)
    if not folder:
        pytest.skip(f"needs Speech Commands' test set in the folder 'speech-commands' of {DATA}")
    bundle = bundles.read(BUNDLE)
    tables = bundle.manifest.features
    mean, std = (np.array(tables[1][key], np.float32) for key in ("mean", "std"))
    hear = hearing(stepping(edgeseq.load(bundle, variant="int8", backend="native")), mean, std)
    clips_ = part(read_clips(Path(folder) / "speech-commands"), "test")
    said = bundle.manifest.accuracy["int8"]
    assert apart(hear, clips_) == pytest.approx(said["clips.apart"], abs=1e-9)
    assert in_a_row(hear, clips_) == pytest.approx(said["clips.in_a_row"], abs=1e-9)
    sound, spoken = stream(clips_, 100)
    decider = bundle.manifest.decider or {}
    heard = judge(tell(hear(sound), decider["threshold"]), spoken, len(sound) / RATE)
    # One of the three streams that the number is the mean of.
    assert heard.found == pytest.approx(said["stream.found"], abs=0.05)
    assert sum(one.label > UNKNOWN for one in spoken) > 300
