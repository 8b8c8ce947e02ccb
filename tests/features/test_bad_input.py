"""What every feature does with clipped, silent, constant, shifted and missing samples; details stand in its own file.

The examples take a stream of the channels a, b, c at 100 Hz.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseq import plugins
from edgeseq.errors import ConfigError
from edgeseq.types import Channel, Frames, StreamSpec

NAMES = plugins.known("features")
TEXT = {"byte_pairs", "characters", "kmers", "log_templates", "words"}
SPEC = StreamSpec((Channel("a"), Channel("b"), Channel("c")), 100.0)
COUNT = 600
RAISED = 9.75
"""What is added: a sum with it that float32 holds exactly where the samples are multiples of 1 / 64."""
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def examples_write_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def noise() -> Frames:
    return (np.rint(64 * np.random.default_rng(0).normal(size=(COUNT, 3))) / 64).astype(np.float32)


def pushed(name: str, values: Frames, spec: StreamSpec = SPEC, **more: Any) -> Frames:
    cls = plugins.find("features", name)
    feature = cls(**{**cls.example(), **more})
    feature.open(spec)
    frames: Frames = feature.push(np.arange(len(values), dtype=np.int64) * 10_000_000, values)[1]
    return frames


# These are NaN of a window that never changes: there is nothing to say of its shape, its bursts or its echoes.
UNDEFINED = {"window_statistics", "spectral_kurtosis", "cepstrum", "side_by_side"}
# The tachometer of these never rises: nothing turns, so no frame comes.
STANDING = {"order_tracking"}


@pytest.mark.parametrize("level", [0.0, -0.0, 9.81])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in TEXT])
def test_silence_and_constants_give_numbers_or_say_that_there_are_none(name: str, level: float) -> None:
    frames = pushed(name, np.full((COUNT, 3), level, np.float32))
    assert len(frames) or name in STANDING
    assert not np.isinf(frames).any(), "no logarithm of zero, no division by it"
    assert np.isfinite(frames).all() or name in UNDEFINED


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TEXT])
def test_clipped_samples_count_as_they_came(name: str) -> None:
    """A feature cannot know what was cut off: it gives other numbers, but where signs alone count."""
    loud = 8 * noise()
    frames = pushed(name, np.clip(loud, -1, 1))
    assert np.isfinite(frames).all()
    assert np.array_equal(frames, pushed(name, loud)) == (name == "zero_crossings")


# Of an offset, as a sensor's 1 g, these give nothing. log_mel is Kaldi's in its example.
WITHOUT_OFFSET = {
    "band_energy", "difference", "envelope", "log_mel", "spectral_kurtosis", "velocity", "welch", "zscore",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TEXT])
def test_an_offset_is_taken_off_by_some(name: str) -> None:
    plain, shifted = pushed(name, noise()), pushed(name, noise() + np.float32(RAISED))
    near = plain.shape == shifted.shape and np.abs(shifted - plain).max(initial=0) <= 1e-4 * np.abs(plain).max()
    assert near == (name in WITHOUT_OFFSET)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_number_does_not_stay(name: str, bad: float) -> None:
    """Frames that lean on it may be NaN; those long behind it are as if it had not been."""
    values = noise()
    values[200] = bad
    frames, clean = pushed(name, values), pushed(name, noise())
    if name in TEXT:
        return  # no text: tests of their own have some
    assert np.isfinite(frames[-1]).all()
    exact = name not in {"ewma", "pcen", "zscore", "velocity", "envelope", "micro_frontend", "order_tracking"}
    if exact:
        np.testing.assert_array_equal(frames[-1], clean[-1])


@pytest.mark.parametrize("name", NAMES)
def test_too_little_gives_no_frame_and_no_error(name: str) -> None:
    cls = plugins.find("features", name)
    feature = cls(**cls.example())
    spec = feature.open(SPEC)
    t_ns, frames = feature.push(np.zeros(1, np.int64), noise()[:1])
    assert frames.shape == (len(t_ns), len(spec.channels))
    assert len(frames) <= 1
    feature.reset()
    t_ns, frames = feature.push(np.zeros(0, np.int64), noise()[:0])
    assert frames.shape == (0, len(spec.channels))


def test_a_missing_channel_is_refused_by_name() -> None:
    asked = 0
    for name in NAMES:
        keys = inspect_channels(plugins.find("features", name).example())
        for key in keys:
            asked += 1
            with pytest.raises(ConfigError, match=f"no channel '{key}'"):
                pushed(name, noise(), StreamSpec((Channel("x"), Channel("y"), Channel("z")), 100.0))
    assert asked > 20


def inspect_channels(example: dict[str, Any]) -> list[str]:
    """Return the first channel that an example names."""
    named = [example.get("channel"), *(example.get("channels") or [])]
    return [name for name in named if name][:1]
