"""Calibration of encoder-decoders on pairs that were recorded: where they come from, what they are good for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models as steps
import numpy as np
import pytest
import seq2seq_models as models
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import edgeseq
import export
from edgeseq.bundle import Bundle
from edgeseq.verification import goldens
from export.encoder_decoder import calibration, recorded
from export.frontends import EncoderDecoder
from export.frontends import torch as frontend
from export.parity import QUANTIZED_BOUNDS

FEATURES = 5
Pair = tuple[np.ndarray, np.ndarray]


class Raw(models.Recurrent):
    """Its sources are raw readings about 40 that move by 8; its first layer has learned to bring them to size."""

    def __init__(self) -> None:
        super().__init__("GRU", "dot", features=FEATURES)
        with torch.no_grad():
            self.words.weight.div_(4)
            self.words.bias.sub_(40 * self.words.weight.sum(dim=1))
            self.head.weight.mul_(4)


def raw() -> tuple[nn.Module, Any]:
    torch.manual_seed(3)
    return Raw().eval(), (torch.zeros(1, 9, FEATURES), torch.zeros(1, 7, dtype=torch.long))


def readings(seed: int, count: int = 40) -> list[Pair]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(12, 30, (count, 2))
    return [
        (
            (40 + 8 * rng.normal(size=(source, FEATURES))).astype(np.float32),
            rng.integers(0, models.TARGET_WORDS, target).astype(np.float32)[:, None],
        )
        for source, target in sizes
    ]


def archive(path: Path, pairs: list[Pair], **changed: Any) -> Path:
    arrays: dict[str, Any] = {
        "sources": np.concatenate([source for source, _ in pairs]),
        "source_lengths": [len(source) for source, _ in pairs],
        "targets": np.concatenate([target for _, target in pairs]),
        "target_lengths": [len(target) for _, target in pairs],
    }
    np.savez(path, **{name: array for name, array in (arrays | changed).items() if array is not None})
    return path


def error(bundle: Bundle, pairs: list[Pair]) -> float:
    """Return the rms error of the int8 model on pairs, as a share of the original's spread there."""
    module, _ = raw()
    model = edgeseq.load(bundle.path, variant="int8")
    expected, found = [], []
    for source, target in pairs:
        with torch.no_grad():
            y = module(torch.from_numpy(source)[None], torch.from_numpy(target[:, 0].astype(np.int64))[None])
        expected.append(y[0].numpy())
        found.append(model.logits(source, target))
    truth = np.concatenate(expected)
    return float(np.max(np.sqrt(np.mean(np.square(np.concatenate(found) - truth), axis=0)) / truth.std(axis=0)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("pairs")
    file = archive(folder / "pairs.npz", readings(1))
    return export.export(raw(), folder / "b", calibration=file, variants=["float32", "int8"])


@pytest.fixture(scope="module")
def original() -> EncoderDecoder:
    model = frontend.from_module(*raw(), "here", "")
    assert isinstance(model, EncoderDecoder)
    return model


def test_the_integers_fit_what_was_recorded(exported: Bundle, tmp_path: Path) -> None:
    unseen = readings(2, 12)
    assert error(exported, unseen) < QUANTIZED_BOUNDS["int8"]
    assert "calibrated on 40 pairs of a source and a target" in (exported.path / "report.md").read_text()
    # Noise about zero says nothing of such readings.
    other = export.export(raw(), tmp_path / "b", variants=["float32", "int8"])
    assert error(other, unseen) > 4 * QUANTIZED_BOUNDS["int8"]


def test_what_is_proven_and_replayed_was_recorded(exported: Bundle) -> None:
    there = {source.tobytes() for source, _ in readings(1)}
    kept = goldens.read_pairs(exported)
    assert kept
    assert all(golden.source.tobytes() in there for golden in kept)


def test_arrays_a_file_and_a_bundle_are_the_same_pairs(
    exported: Bundle, original: EncoderDecoder, tmp_path: Path
) -> None:
    expected = readings(1, 8)
    listed, _ = recorded.pairs([(source, target[:, 0]) for source, target in expected], original, None)
    read, _ = recorded.pairs(archive(tmp_path / "pairs.npz", expected), original, 64)
    for pairs in (listed, read):
        for pair, other in zip(pairs, expected, strict=True):
            assert all(
                np.array_equal(one, two) and one.dtype == np.float32 for one, two in zip(pair, other, strict=True)
            )
    own, _ = recorded.pairs(exported.path, original, None)
    assert [len(source) for source, _ in own] == [len(each.source) for each in goldens.read_pairs(exported)]


def test_of_many_pairs_some_are_picked_evenly_and_it_is_told(original: EncoderDecoder) -> None:
    many = [(np.full((1, FEATURES), n, np.float32), np.zeros((1, 1), np.float32)) for n in range(1000)]
    picked, told = recorded.pairs(many, original, None)
    numbers = [int(source[0, 0]) for source, _ in picked]
    assert (len(numbers), numbers[0], numbers[-1], max(np.diff(numbers))) == (recorded.MOST, 0, 999, 4)
    assert told == ["calibrated on 256 of 1,000 pairs of a source and a target"]


@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=20))
def test_every_pair_is_calibrated_on_whole_and_beside_sources_of_its_length(
    original: EncoderDecoder, lengths: list[int]
) -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(n, FEATURES)).astype(np.float32), np.zeros((2, 1), np.float32)) for n in lengths]
    groups = calibration.recorded(original, pairs)
    sources = [[source[0] for source in group.sources] for group in groups]
    assert all(len({len(source) for source in group}) == 1 for group in sources)
    assert all(len(group.sources) == len(group.targets) for group in groups)
    seen = [source.tobytes() for group in sources for source in group]
    assert all(source.tobytes() in seen for source, _ in pairs)
    there = [source.tobytes() for source, _ in pairs]
    beginnings = [source for group in sources for source in group if source.tobytes() not in there]
    assert all(any(np.array_equal(b, source[: len(b)]) for source, _ in pairs) for b in beginnings)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"targets": None}, "calibrated on an .npz with sources, source_lengths, targets, target_lengths"),
        ({"source_lengths": [3]}, "source_lengths, int64(1,), are no lengths that add up"),
        ({"target_lengths": [0, 30]}, "target_lengths"),
        ({"sources": np.zeros((30, 4), np.float32), "source_lengths": [10, 20]}, "sources: sequence 0 has the shape"),
        ({"sources": np.full((30, 5), np.nan, np.float32), "source_lengths": [10, 20]}, "holds NaN or infinity"),
        ({"targets": np.full(9, 11), "target_lengths": [4, 5]}, "targets: sequence 0, frame 0: 11 is none of"),
        ({"targets": np.zeros(9), "target_lengths": [9, 0]}, "pair 1 has a source of 15 and a target of 0"),
        ({"targets": np.zeros(9), "target_lengths": [3, 3, 3]}, "2 sources for 3 targets"),
    ],
)  # fmt: skip
def test_pairs_that_do_not_fit(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    two = [(np.zeros((15, FEATURES), np.float32), np.zeros((9, 1), np.float32))] * 2
    file = archive(tmp_path / "pairs.npz", two, **changed)
    with pytest.raises(export.ExportError) as caught:
        export.export(raw(), tmp_path / "b", calibration=file)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_a_target_beyond_the_decoder_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = models.T5(width=8, layers=1).eval()
    pair = (np.zeros((5, 1), np.float32), np.zeros((9, 1), np.float32))
    with pytest.raises(export.ExportError, match="the target of pair 0 has 9 steps, and the decoder makes 8 at most"):
        export.export((module, models.tokens()), tmp_path / "b", calibration=[pair], max_steps=8)


def test_frames_of_one_stream_are_no_pairs(gru_bundle: Bundle, tmp_path: Path) -> None:
    for frames in (gru_bundle.path, steps.walks(1)):
        with pytest.raises(export.ExportError, match="pairs"):
            export.export(raw(), tmp_path / "b", calibration=frames)
