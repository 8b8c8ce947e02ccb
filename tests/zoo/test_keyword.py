"""The keyword recipe's data, streams and scores, on a small made-up data set; the real one where it is at hand."""

import dataclasses
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from made_up_words import clip, clips, write

from edgeseq.features.log_mel import LogMel
from edgeseq.types import Channel, StreamSpec
from zoo.keyword import sample
from zoo.keyword.augment import IGNORED, Augmentation, Lanes, Stage, faded
from zoo.keyword.data import (
    BANDS,
    CLASSES,
    CLIP,
    FOLDERS,
    HOP,
    LOG_MEL,
    RATE,
    SILENCE,
    UNKNOWN,
    DataError,
    Floats,
    Listener,
    part,
    read_clips,
    speaker,
    split,
    word,
)
from zoo.keyword.evaluate import AFTER, ORDERS, SMOOTH, Spoken, Told, apart, in_a_row, judge, smoothed, stream, tell

DATA = "EDGESEQ_DATA"


def test_clips_are_read(tmp_path: Path) -> None:
    write(tmp_path)
    read = read_clips(tmp_path)
    assert [one.label for one in read] == sorted(one.label for one in read)
    assert {one.label for one in read} == set(range(len(CLASSES)))
    assert all(one.samples.shape == (CLIP,) and one.samples.dtype == np.float32 for one in read)
    assert all((one.begin, one.end) == (0, CLIP) for one in read if one.label == SILENCE)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.unlink(), "holds no clips"),
        (lambda path: path.write_bytes(b"no sound"), "cannot be read"),
        (lambda path: _wav(path, 8000, 1), "one channel at 16000 Hz"),
        (lambda path: _wav(path, RATE, 2), "one channel at 16000 Hz"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, harm: Any, words: str) -> None:
    write(tmp_path, speakers=1)
    harm(next((tmp_path / "yes").iterdir()))
    with pytest.raises(DataError, match=words):
        read_clips(tmp_path)


def _wav(path: Path, rate: int, channels: int) -> None:
    soundfile.write(str(path), np.zeros((100, channels)), rate)


def test_speakers_are_in_the_names() -> None:
    assert speaker(CLASSES.index("up"), "0cb74144_nohash_2.flac") == "0cb74144"
    assert speaker(UNKNOWN, "bird_0cb74144_nohash_0.wav.flac") == "0cb74144"
    assert speaker(SILENCE, "1024.flac") != speaker(SILENCE, "1025.flac")


def test_no_speaker_is_on_both_sides() -> None:
    every = clips(speakers=40)
    train, test = part(every, "train"), part(every, "test")
    assert len(train) + len(test) == len(every)
    assert not {one.speaker for one in train} & {one.speaker for one in test}
    assert 0.1 < len(test) / len(every) < 0.4
    chosen = [{one.speaker for one in split(train, 0.2, f"seed {seed}")[1]} for seed in range(3)]
    assert chosen[0] != chosen[1] != chosen[2]


def test_a_word_is_found_in_its_clip() -> None:
    samples = np.random.default_rng(0).normal(size=CLIP).astype(np.float32) * np.float32(0.001)
    samples[4800:9600] += np.sin(np.arange(4800)).astype(np.float32)
    begin, end = word(samples)
    assert begin == pytest.approx(4800, abs=320)
    assert end == pytest.approx(9600, abs=320)
    assert word(np.zeros(CLIP, np.float32)) == (0, CLIP)


def test_frames_are_the_runtime_s_whatever_the_blocks() -> None:
    sound = np.random.default_rng(1).normal(size=3 * RATE).astype(np.float32)
    feature = LogMel(**LOG_MEL)  # type: ignore[arg-type]
    feature.open(StreamSpec((Channel("audio"),), RATE))
    _, whole = feature.push(np.zeros(len(sound), np.int64), sound[:, None])
    listener = Listener()
    np.testing.assert_array_equal(np.concatenate([listener(piece) for piece in np.split(sound, [7, 5000])]), whole)
    assert whole.shape[1] == BANDS


def test_scenes_say_what_is_told_when() -> None:
    only = Augmentation(words=1, spoken=1, unknown=0, quiet=1, speed=0, word_db=(0, 0))
    scene = Stage(clips(), only, np.random.default_rng(2)).scene(4 * RATE)
    labels = scene.labels
    assert labels.shape == (4 * RATE // HOP,)
    told = np.flatnonzero(labels > UNKNOWN)
    assert len(set(labels[told].tolist())) == 1
    assert np.array_equal(told, np.arange(told[0], told[-1] + 1))
    # The word ends where it begins to be told: it is loud up to there and still from there on.
    loud = np.abs(scene.samples) > 0.05
    end = np.flatnonzero(loud)[-1]
    assert told[0] * HOP == pytest.approx(end, abs=2 * HOP)
    first = np.flatnonzero(loud)[0] // HOP
    assert (labels[first : told[0]] == IGNORED).all()
    assert (labels[: first - 1] == SILENCE).all()


def test_scenes_hold_only_whole_words_and_stay_in_range() -> None:
    stage = Stage(clips(), Augmentation(), np.random.default_rng(3))
    labels = []
    for _ in range(50):
        scene = stage.scene(4 * RATE)
        assert np.abs(scene.samples).max() <= 1
        assert scene.samples.dtype == np.float32
        labels.append(scene.labels)
    assert set(np.concatenate(labels).tolist()) == {IGNORED, *range(len(CLASSES))}


def test_a_scene_too_short_for_its_words_has_none() -> None:
    crowded = Augmentation(words=9, spoken=1)
    scene = Stage(clips(), crowded, np.random.default_rng(4)).scene(2 * RATE)
    assert (scene.labels == SILENCE).all()


def test_lanes_go_on_from_batch_to_batch() -> None:
    """The frames are those of the scenes in a row: where one ends, no frame is lost and none leans on silence."""
    heard: list[Floats] = []

    class Noted(Stage):
        def scene(self, size: int) -> Any:
            scene = super().scene(size)
            heard.append(scene.samples)
            return scene

    lanes = Lanes(clips(), 1, 2 * RATE, Augmentation(), 5)
    lanes._stage = Noted(clips(), Augmentation(), np.random.default_rng(6))
    batches = [lanes.batch()[0][0] for _ in range(3)]
    whole = Listener()(np.concatenate(heard))
    # What came before the first batch is in its first frame alone.
    np.testing.assert_array_equal(np.concatenate(batches)[1:], whole)


def varied(x: Floats, **how: Any) -> Floats:
    still = Augmentation(shift=0, tilt=0, stripes=0)
    return Lanes(clips(), 2, 2 * RATE, dataclasses.replace(still, **how), 7).vary(x)


def test_spectra_are_blanked_in_stripes() -> None:
    frames = varied(np.ones((200, 100, BANDS), np.float32), stripes=1, bands=8, frames=12)
    assert 0.1 < (frames == 0).mean() < 0.2
    assert set(np.unique(frames).tolist()) == {0.0, 1.0}


def test_spectra_are_shifted_and_tilted() -> None:
    ramp = np.broadcast_to(np.arange(BANDS, dtype=np.float32), (50, 3, BANDS))
    np.testing.assert_array_equal(varied(ramp.copy()), ramp)
    moved = (varied(ramp.copy(), shift=2.0) - ramp)[:, :, 2:-2]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1, :1], moved.shape), atol=1e-4)
    assert -2 <= moved.min() < -1
    assert 1 < moved.max() <= 2
    tilt = varied(ramp.copy(), tilt=0.5) - ramp
    np.testing.assert_allclose(tilt[..., 0], -tilt[..., -1], atol=1e-4)
    assert 0.3 < np.abs(tilt).max() <= 0.5


def test_fading_leaves_the_middle_and_the_original_alone() -> None:
    samples = np.ones(1000, np.float32)
    soft = faded(samples)
    assert soft[0] == soft[-1] == 0
    assert (soft[160:-160] == 1).all()
    assert (samples == 1).all()


def oracle(sound: Floats) -> Floats:
    """Hear the made-up words by their pitch: certain of a class for 0.3 s after one ends, of silence otherwise."""
    frames = len(sound) // HOP - 1
    spectra = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(sound, 512)[::HOP][:frames], 512))
    bins = spectra[:, 10:].argmax(axis=1) + 10
    loud = spectra.max(axis=1) > 5
    probabilities = np.zeros((frames, len(CLASSES)), np.float32)
    probabilities[:, SILENCE] = 1
    for t in range(1, frames):
        if loud[t - 1] and not loud[t]:
            label = int(np.clip(round((bins[t - 3] * RATE / 512 - 400) / 500), 0, len(CLASSES) - 1))
            probabilities[t : t + 15] = np.eye(len(CLASSES), dtype=np.float32)[label]
    return probabilities


def test_clips_are_scored_by_what_is_heard_of_them() -> None:
    every = clips(speakers=2)
    assert apart(oracle, every) == 1
    assert in_a_row(oracle, every) == 1

    def deaf(sound: Floats) -> Floats:
        return np.eye(len(CLASSES), dtype=np.float32)[np.zeros(len(sound) // HOP, int)]

    silent = np.mean([one.label == SILENCE for one in every])
    assert apart(deaf, every) == in_a_row(deaf, every) == silent


def test_in_a_row_clips_follow_others_and_begin_elsewhere_in_every_order() -> None:
    every = clips(speakers=2)
    heard: list[Floats] = []

    def noted(sound: Floats) -> Floats:
        heard.append(sound)
        return oracle(sound)

    in_a_row(noted, every)
    places = {one.samples.tobytes(): place for place, one in enumerate(every)}
    rows, begins = [], []
    for sound in heard:
        begins.append(len(sound) - int(AFTER * RATE) - len(every) * CLIP)
        row = sound[begins[-1] :][: len(every) * CLIP].reshape(-1, CLIP)
        rows.append([places[samples.tobytes()] for samples in row])
    assert all(sorted(row) == list(range(len(every))) for row in rows)
    assert len({tuple(row) for row in rows}) == ORDERS
    assert len({begin % HOP for begin in begins}) == ORDERS


def test_streams_have_every_word_once_and_say_when() -> None:
    every = clips(speakers=2)
    sound, spoken = stream(every, 0)
    words = [one for one in every if one.label != SILENCE]
    assert sorted(one.label for one in spoken) == sorted(one.label for one in words)
    assert all(0.5 < two.begin - one.begin < 5 for one, two in itertools.pairwise(spoken))
    heard = judge(tell(oracle(sound), 0.6), spoken, len(sound) / RATE)
    assert heard.found > 0.8
    assert not np.array_equal(sound[: 10 * RATE], stream(every, 1)[0][: 10 * RATE])


def test_the_track_is_what_its_truth_says(tmp_path: Path) -> None:
    names = sample.write(clips(2), tmp_path)
    sound, rate = soundfile.read(str(tmp_path / "track.flac"), dtype="float32")
    assert (rate, len(sound)) == (RATE, sample.SECONDS * RATE)
    rows = [row.split(",") for row in (tmp_path / "truth.csv").read_text().splitlines()]
    assert rows[0] == ["begin", "end", "word"]
    assert len(names) == len(rows) - 1 == 2 * 10 + sample.STRANGERS
    assert {word for *_, word in rows[1:]} == set(CLASSES) - {"silence"}
    told = tell(oracle(sound), 0.6)
    spoken = [Spoken(float(begin), float(end), CLASSES.index(word)) for begin, end, word in rows[1:]]
    assert judge(told, spoken, sample.SECONDS).found > 0.8


def test_told_words_are_held_against_the_spoken() -> None:
    spoken = [Spoken(1, 2, 5), Spoken(4, 5, 6), Spoken(7, 8, UNKNOWN)]
    told = [Told(2.1, 5), Told(2.5, 5), Told(4.5, 7), Told(7.5, 6), Told(20, 5)]
    heard = judge(told, spoken, 3600)
    assert heard.found == 0.5
    assert heard.late == pytest.approx(0.1)
    # A word told twice, another word, and one where an unknown was said; and one where nobody spoke.
    assert (heard.wrong_per_hour, heard.nothing_per_hour, heard.false_per_hour) == (3, 1, 4)


def test_smoothing_is_a_mean_of_the_past() -> None:
    rows = np.random.default_rng(8).random((30, 3)).astype(np.float32)
    np.testing.assert_allclose(smoothed(rows)[20], rows[21 - SMOOTH : 21].mean(axis=0), rtol=1e-5)


def test_real_clips_are_read_and_parted() -> None:
    folder = os.environ.get(DATA)
    if not folder:
        pytest.skip(f"needs Speech Commands' test set in the folder 'speech-commands' of {DATA}")
    every = read_clips(Path(folder) / "speech-commands")
    assert [sum(one.label == label for one in every) for label in range(len(FOLDERS))] == [200] * 12
    spans = np.array([one.end - one.begin for one in every if one.label > UNKNOWN]) / RATE
    assert 0.3 < np.median(spans) < 0.5
    assert clip(0, "x").samples.shape == every[0].samples.shape
