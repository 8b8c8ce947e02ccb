"""Listening: PortAudio and ALSA themselves, with ALSA's plug-in that hears a file, and a fake for what that can't do.

The child process exists because ALSA reads its configuration once.
"""

import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from edgeseq import cli
from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources import _microphone
from edgeseq.sources.audio import Audio
from edgeseq.types import Live

try:
    import sounddevice
except OSError:
    sounddevice = None
needs_portaudio = pytest.mark.skipif(sounddevice is None, reason="no PortAudio; apt-get install libportaudio2")

ALSA = """
pcm.{name} {{
  type file
  slave.pcm "null"
  file "/dev/null"
  infile "{infile}"
  format "raw"
  hint {{
    show on
    description "{name}"
  }}
}}
"""
HEARS = """
import itertools, json, sys
import numpy as np
from edgeseq.sources.audio import Audio
source = Audio(device="tape", rate_hz=16000, channels=["left", "right"])
said, chunks = source.check(), []
for chunk in source:
    chunks.append(chunk)
    if sum(len(each.t_ns) for each in chunks) >= 20000:
        source.close()
times = np.concatenate([each.t_ns for each in chunks])
np.save(sys.argv[1], np.concatenate([each.values for each in chunks])[:20000])
print(json.dumps({
    "said": said, "live": source.live, "dropped": source.dropped, "rising": bool((np.diff(times) > 0).all()),
    "gaps": sum(each.gap for each in chunks), "last": any(each.last for each in chunks),
}))
"""


def under(tmp_path: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in which ALSA has the devices of tmp_path/asound.conf."""
    variables = {"ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{tmp_path / 'asound.conf'}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", script, *arguments]
    root = str(Path(__file__).parents[2])
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120, cwd=root)


@needs_portaudio
def test_what_alsa_hears_comes_sample_for_sample(tmp_path: Path) -> None:
    tape = np.random.default_rng(0).integers(-32768, 32767, (40_000, 2)).astype(np.float32) / 32768
    (tmp_path / "tape.raw").write_bytes(tape.astype("<f4").tobytes())
    (tmp_path / "asound.conf").write_text(ALSA.format(name="tape", infile=tmp_path / "tape.raw"))
    done = under(tmp_path, HEARS, str(tmp_path / "heard.npy"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {
        "said": "listens to tape, 2 channels at 16000 Hz",
        "live": True,
        "dropped": {},
        "rising": True,
        "gaps": 0,
        "last": False,
    }
    np.testing.assert_array_equal(np.load(tmp_path / "heard.npy"), tape[:20_000])


@needs_portaudio
@pytest.mark.parametrize(
    ("device", "channels", "words"),
    [
        ("nobody", 1, "the sound device 'nobody' cannot be opened with 1 channel(s) at 16000 Hz: No input device"),
        ("tape", 500, "the sound device 'tape' cannot be opened with 500 channel(s) at 16000 Hz: "),
    ],
)
def test_a_device_that_cannot_be_opened(tmp_path: Path, device: str, channels: int, words: str) -> None:
    (tmp_path / "asound.conf").write_text(ALSA.format(name="tape", infile="/dev/zero"))
    script = f"""
from edgeseq.errors import SourceError
from edgeseq.sources.audio import Audio
for ask in (Audio.check, lambda source: next(iter(source))):
    try:
        ask(Audio(device={device!r}, rate_hz=16000, channels=[str(i) for i in range({channels})]))
    except SourceError as cause:
        print(cause)
"""
    done = under(tmp_path, script)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert line.startswith(words)
        assert "Devices here: tape." in line
        assert ("Invalid number of channels" in line) == (device == "tape")


class Fake:
    """What sounddevice is to a Microphone, at its boundary: streams that hear counted samples, lose some, or die."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self, *streams: list[Any]) -> None:
        self.streams = [list(each) for each in streams]
        self.opened = self.looked = 0

    def InputStream(self, **keys: Any) -> "Fake":  # noqa: N802 - the library's name
        assert keys["dtype"] == "float32"
        self.opened += 1
        if not self.streams:
            raise self.PortAudioError("no such device")
        self.script = self.streams.pop(0)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    latency = 0.5

    @property
    def read_available(self) -> int:
        step = self.script[0] if self.script else None
        if isinstance(step, Exception):
            raise step
        return 320 if step is not None else 0

    def read(self, count: int) -> tuple[Any, bool]:
        return np.full((count, 1), self.opened, np.float32), self.script.pop(0) == "overrun"

    def query_devices(self) -> list[dict[str, Any]]:
        return [{"name": "fake", "max_input_channels": 1}]

    def _terminate(self) -> None:
        self.looked += 1

    def _initialize(self) -> None:
        self.looked += 1


def heard(fake: Fake, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], Counter[str]]:
    """Listen to a fake until so many chunks came."""
    monkeypatch.setattr(_microphone.libraries, "sounddevice", lambda: fake)
    monkeypatch.setattr(_microphone, "FIRST_WAIT_S", 0.01)
    dropped: Counter[str] = Counter()
    closed, chunks = threading.Event(), []
    for chunk in _microphone.Microphone("fake", 16_000, 1, dropped).chunks(closed):
        chunks.append(chunk)
        if len(chunks) == count:
            closed.set()
    return chunks, dropped


def test_an_overrun_is_a_gap_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks, dropped = heard(Fake(["", "", "overrun", ""]), 4, monkeypatch)
    assert [chunk.gap for chunk in chunks] == [False, False, True, False]
    assert dropped == {"overruns": 1}


def test_a_device_that_goes_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Fake.PortAudioError("Unanticipated host error")
    fake = Fake(["", "", gone], ["", ""])
    chunks, dropped = heard(fake, 4, monkeypatch)
    assert [float(chunk.values[0, 0]) for chunk in chunks] == [1, 1, 2, 2]
    assert [chunk.gap for chunk in chunks] == [False, False, True, False]
    assert dropped == {"unplugged": 1}
    assert fake.looked == 2, "PortAudio lists its devices anew"
    assert "is gone (Unanticipated host error). It is waited for." in caplog.text


def test_a_sound_system_that_is_gone_is_waited_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Fake):
        def _initialize(self) -> None:
            super()._initialize()
            raise self.PortAudioError("Error initializing PortAudio")

    fake = Gone(["", Fake.PortAudioError("Unanticipated host error")], [""])
    chunks, dropped = heard(fake, 2, monkeypatch)
    assert [chunk.gap for chunk in chunks] == [False, True]
    assert dropped == {"unplugged": 1}


def test_a_device_that_hears_nothing_ends_when_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_microphone.libraries, "sounddevice", lambda: Fake([]))
    source = Audio(device="fake", rate_hz=16_000)
    assert isinstance(source, Live)
    assert source.live
    chunks: list[Any] = []
    thread = threading.Thread(target=lambda: chunks.extend(source), daemon=True)
    thread.start()
    source.close()
    thread.join(30)
    assert not thread.is_alive()
    assert chunks == []


def test_a_file_or_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for keys in ({}, {"path": tmp_path / "a.wav", "device": 0}):
        with pytest.raises(ConfigError, match="either path, a file, or device"):
            Audio(rate_hz=16_000, **keys)
    with pytest.raises(ConfigError, match="belong to a file"):
        Audio(device=0, rate_hz=16_000, pace="real-time")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ConfigError, match=r"pip install 'edgeseq\[audio\]'"):
        Audio(device=0, rate_hz=16_000)


def test_the_library_that_the_system_brings_is_named(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom edgeseq import libraries; libraries.sounddevice()"
    )
    done = under(tmp_path, script)
    assert "PortAudio library not found" in done.stderr
    assert "apt-get install libportaudio2" in done.stderr


def test_nothing_that_is_heard_now_is_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_microphone.libraries, "sounddevice", lambda: Fake([]))
    config = tmp_path / "c.toml"
    config.write_text(
        'name = "x"\n[source]\ntype = "audio"\ndevice = "fake"\nrate_hz = 8000\n'
        '[[model]]\ntype = "stft"\nblock = 4\nhop = 4\n[output]\nfrom = "stft.magnitude"\n'
    )
    assert cli.main(["replay", str(config), "--output", str(tmp_path / "y.csv")]) == 2
    assert "the source measures now" in capsys.readouterr().err
    sound = tmp_path / "a.wav"
    import soundfile  # noqa: PLC0415

    soundfile.write(sound, np.zeros(64, np.float32), 8000)
    assert cli.main(["replay", str(config), "--input", str(sound), "--output", str(tmp_path / "y.csv")]) == 0
    assert len((tmp_path / "y.csv").read_text().splitlines()) == 17


def test_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"Devices here: fake\."):
        heard(Fake(), 1, monkeypatch)
