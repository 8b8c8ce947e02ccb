"""Sound files as a source: what is read, and every file that is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources import audio
from edgeseq.sources.audio import Audio

SAMPLES = np.random.default_rng(0).uniform(-1, 1, 10001).astype(np.float32)


def written(path: Path, samples: object = SAMPLES, rate: int = 16000, subtype: str | None = "FLOAT") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def test_samples_come_as_they_are(tmp_path: Path) -> None:
    source = Audio(path=written(tmp_path / "a.wav"), rate_hz=16000, start="1970-01-01T00:00:01Z")
    chunks = list(source)
    np.testing.assert_array_equal(np.concatenate([chunk.values for chunk in chunks])[:, 0], SAMPLES)
    times = np.concatenate([chunk.t_ns for chunk in chunks])
    assert times.tolist() == [10**9 + i * 62500 for i in range(len(SAMPLES))]
    assert [chunk.last for chunk in chunks] == [False, False, True]
    assert source.spec.names == ("audio",)


@pytest.mark.parametrize(("ending", "subtype", "error"), [("flac", "PCM_24", 2**-22), ("wav", "PCM_16", 2**-14)])
def test_other_formats(tmp_path: Path, ending: str, subtype: str, error: float) -> None:
    source = Audio(path=written(tmp_path / f"a.{ending}", subtype=subtype), rate_hz=16000)
    np.testing.assert_allclose(np.concatenate([c.values for c in source])[:, 0], SAMPLES, atol=error)


def test_ogg(tmp_path: Path) -> None:
    source = Audio(path=written(tmp_path / "a.ogg", subtype="VORBIS"), rate_hz=16000)
    assert sum(len(chunk.t_ns) for chunk in source) == len(SAMPLES)


def test_channels_have_names(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", np.stack([SAMPLES, -SAMPLES], axis=1))
    source = Audio(path=path, rate_hz=16000, channels=["left", "right"])
    values = np.concatenate([chunk.values for chunk in source])
    np.testing.assert_array_equal(values[:, 0], -values[:, 1])
    assert source.spec.names == ("left", "right")
    assert "2 channels at 16000 Hz" in source.check()
    with pytest.raises(SourceError, match=r"has 2 channel\(s\), the pipeline takes 1 \(audio\)"):
        Audio(path=path, rate_hz=16000).check()


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="8000 samples a second, the pipeline takes 16000"):
        Audio(path=written(tmp_path / "slow.wav", rate=8000), rate_hz=16000).check()
    with pytest.raises(ConfigError, match="there is no such file"):
        Audio(path=tmp_path / "none.wav", rate_hz=16000).check()
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(SourceError, match=r"text\.wav: is no sound file that can be read: Format not recognised\.$"):
        Audio(path=tmp_path / "text.wav", rate_hz=16000).check()
    with pytest.raises(SourceError, match="holds no samples"):
        Audio(path=written(tmp_path / "empty.wav", SAMPLES[:0]), rate_hz=16000).check()
    with pytest.raises(ConfigError, match="rate_hz must be above 0"):
        Audio(path=tmp_path / "none.wav", rate_hz=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_told_with_its_place(tmp_path: Path, bad: float) -> None:
    samples = SAMPLES.copy()
    samples[9000] = bad
    with pytest.raises(SourceError, match="sample 9000 is NaN or infinite"):
        list(Audio(path=written(tmp_path / "a.wav", samples), rate_hz=16000))


def test_a_flac_that_is_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(SourceError, match=r"a\.flac: cannot be read on at sample .*: it is damaged or cut off\.$"):
        list(Audio(path=path, rate_hz=16000))


def test_a_flac_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the samples, 36 bits of STREAMINFO, are 0: not known
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.flac: its header does not say how long it is.* encode that"):
        Audio(path=path, rate_hz=16000).check()


def test_a_wav_that_is_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(SourceError, match="cut off"):
        list(Audio(path=path, rate_hz=16000))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_is_damaged_or_cut_off_anywhere(subtype: str, tmp_path: Path) -> None:
    """libsndfile passes over pages that are damaged or gone, and takes what is left for the whole."""
    whole = written(tmp_path / "whole.ogg", np.tile(SAMPLES, 12), subtype=subtype).read_bytes()
    pages = [match.start() for match in re.finditer(b"OggS", whole)]
    middle, after, last = pages[len(pages) // 2], pages[len(pages) // 2 + 1], pages[-1]
    assert len(pages) > 5
    place = middle + 99
    wrong = {
        "is damaged: page .* is not what its sum says": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
        "is damaged: page .* follows page": whole[:middle] + whole[after:],
        "is damaged: no page begins at byte": whole[:middle] + b"x" + whole[middle:],
        "ends within a page: it is cut off": whole[:-1],
        "no page that is marked as the last: it is cut off": whole[:last],
    }  # fmt: skip
    for said, content in wrong.items():
        (tmp_path / "a.ogg").write_bytes(content)
        with pytest.raises(SourceError, match=rf"a\.ogg: .*{said}"):
            Audio(path=tmp_path / "a.ogg", rate_hz=16000).check()
    assert sum(len(chunk.t_ns) for chunk in Audio(path=tmp_path / "whole.ogg", rate_hz=16000)) == 12 * len(SAMPLES)


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(ConfigError, match=r"pip install 'edgeseq\[audio\]'"):
        audio.Audio(path=tmp_path / "a.wav", rate_hz=16000)
