"""Every mistake in [[model]] tables is one paragraph with file, line and key."""
# ruff: noqa: E501 - the table reads best with a line a mistake

import hashlib
from pathlib import Path

import numpy as np
import pytest
import small_models
import soundfile
from small_chains import ECHO, SPECTRAL, build

from edgeseq import libraries, plugins
from edgeseq.errors import ConfigError

TWO = '[[model]]\ntype = "onnx"\nfile = "two.onnx"\nhop = 4\n'
WRONG = [
    # What stands in the file, and what it is answered with: the key with its line, and the sentence.
    (ECHO.replace('"onnx"', '"onyx"'), r"line 8: model\[0\]\.type: .*Did you mean 'onnx'"),
    (ECHO.replace("file", "fiel"), r"line 9: model\[0\]\.fiel: unknown key 'fiel'. Did you mean 'file'"),
    (ECHO.replace('type = "onnx"', ""), r"line 7: model\[0\]: the key 'type' is missing"),
    (ECHO.replace('file = "echo.onnx"', ""), r"the key 'file' is missing"),
    (ECHO.replace("echo.onnx", "none.onnx"), r"line 9: model\[0\]\.file: there is no file .*none\.onnx"),
    (ECHO.replace("echo.onnx", "in.wav"), r"line 9: model\[0\]\.file: .*ONNX Runtime .* cannot load it"),
    (ECHO.replace('"onnx"', '"tflite"'), r"model\[0\]\.file: .*echo\.onnx: this is no TFLite file"),
    (ECHO.replace("hop = 4", "hop = 0"), r"line 10: model\[0\]\.hop: must lie between 1"),
    (ECHO.replace("hop = 4", "hop = 5"), r"model\[0\]\.file: what comes in is \[5, 1\] a step, .*no input that takes it"),
    (ECHO.replace("{ x = 2 }", "{ X = 2 }"), r"line 11: model\[0\]\.overlap\.X: .*no input 'X'"),
    (ECHO.replace("{ x = 2 }", "{ x = 0 }"), r"overlap\.x: must lie between 1"),
    (ECHO.replace("{ x = 2 }", "{ h = 2 }"), r"line 9: model\[0\]\.file: what comes in"),
    (ECHO.replace("gain = 3", "gian = 3"), r"line 12: model\[0\]\.constants\.gian: .*Did you mean 'gain'"),
    (ECHO.replace("gain = 3", "gain = 3.5"), r"line 12: .*3\.5 is no value of int64, which the input 'gain' takes"),
    (ECHO.replace("gain = 3", "gain = [3, 4]"), r"takes \[\], the constant is \[2\]"),
    (ECHO.replace("gain = 3", "gain = [3, [4]]"), r"is no value of int64"),
    (ECHO.replace("constants = { gain = 3 }", ""), r"no input that takes it while all others are fed"),
    (ECHO.replace("gain = 3", "gain = 3, x = 1"), r"the input 'x' is held constant: it has no past"),
    (ECHO + 'states = [{ input = "hh", output = "h_next" }]', r"line 13: model\[0\]\.states\[0\]: .*'hh'.*Did you mean 'h'"),
    (ECHO + 'states = [{ input = "h", output = "hnext" }]', r"no output 'hnext'\. Did you mean 'h_next'"),
    (ECHO + 'states = [{ input = "h", output = "y" }]', r"enters as float32 \[1, 1, 4\] and leaves as float32 \[1, 4\]"),
    (ECHO + 'states = [{ input = "h", outptu = "y" }]', r"model\[0\]\.states\[0\].*outptu"),
    (ECHO + "states = []", r"nothing feeds the inputs 'x' \[1, 6\], 'h' \[1, 1, 4\].*The outputs are y float32 \[1, 4\]"),
    (ECHO + 'states = [{ input = "h", output = "h_next", shape = [4] }]', r"states: .*\[4\] is no such shape"),
    (ECHO + 'states = [{ input = "h", output = "h_next", initial = inf }]', r"initial must be a finite number"),
    (ECHO + f'sha256 = "{"0" * 64}"', r"line 13: model\[0\]\.sha256: .*not the file that was meant: its SHA-256 is"),
    (ECHO + 'sha256 = "abc"', r"64 hexadecimal digits"),
    (TWO, r"cannot be told .* Write it down, for example: states = \[\{ input = "),
    (TWO + 'states = [{ input = "a", output = "a_next" }]', r"nothing feeds the inputs 'x' \[1, 4\], 'b' \[1, 4\]"),
    (
        TWO + 'states = [{ input = "a", output = "a_next" }, { input = "b", output = "a_next" }]',
        r"'a_next' is the next value of two states",
    ),
    (
        TWO + 'inputs = { x = "source", a = "source" }\nstates = [{ input = "a", output = "a_next" }]',
        r"fed by a stage|nothing feeds the inputs 'b'",
    ),
    (TWO + "inputs = {}", r"inputs names each input and where it comes from"),
    (TWO + 'inputs = { x = "sorce" }', r"line 10: model\[0\]\.inputs\.x: there is no stage 'sorce'.*Did you mean 'source'"),
    (TWO.replace("two", "growing") + 'states = [{ input = "h", output = "h_next" }]', r"model\[0\]\.states: the state 'h' is \[1, 1, 4\] before a step and \[1, 2, 4\] after"),
    (TWO.replace("two", "random"), r"model\[0\]\.file: random\.onnx gives different outputs for the same inputs"),
    (TWO + 'name = "a.b"', r"a stage's name has no point"),
    (TWO + 'bundle = "x"', r"a bundle stands in \[model\] alone"),
    ("model = []\n", r"a model has 1 to"),
    (SPECTRAL.replace('"stft.magnitude"', '"stft.magnitud"'), r"'stft' gives no 'magnitud'. Did you mean 'magnitude'"),
    (SPECTRAL.replace('"stft.magnitude"', '"stft"'), r"'stft' gives magnitude, phase, spectrum: say which"),
    (SPECTRAL.replace("{ mask =", "{ msk ="), r"model\[2\]\.inputs\.msk: there is no input 'msk'. Did you mean 'mask'"),
    (SPECTRAL.replace(', of = "stft.spectrum"', ""), r"line 20: model\[2\]\.inputs: takes two"),
    (SPECTRAL.replace('of = "stft.spectrum"', 'of = "source"'), r"a mask of \[1, 17\] does not go on \[8, 1\]"),
    (SPECTRAL.replace("block = 32", "block = 36"), r"model\[1\]\.inputs: the input 'x' of sum.tflite takes \[1, 1, 17\], what comes is \[1, 19\]"),
    (SPECTRAL.replace("block = 32", "block = 31"), r"line 9: model\[0\]\.block: must be even"),
    (SPECTRAL.replace("hop = 8", "hop = 7"), r"takes a block of whole hops of 7 samples a step, what comes is \[1, 32\]"),
    (SPECTRAL.replace("hop = 8", "hop = 40"), r"a hop of 40 samples is longer than the block of 32"),
    (SPECTRAL.replace('"hann"', '"hamming"'), r"window"),
    (SPECTRAL.replace('name = "gain"', 'name = "stft"'), r"two stages are called 'stft'"),
    (SPECTRAL + "hop = 9", r"line 27: model\[4\]\.hop: another stage says 8"),
    (ECHO + '[output]\nkind = "signal"\nfrom = "stft"', r"line 15: output\.from: there is no stage 'stft'"),
    (ECHO + '[output]\nfrom = "source"', r"the source's own samples are no result"),
    (ECHO + '[output]\nnames = ["a"]', r"line 14: output\.names: the result has 4 values"),
    (ECHO + '[output]\nknd = "scores"', r"output\.knd: unknown key 'knd'. Did you mean 'kind'"),
    (SPECTRAL + '[output]\nkind = "signal"\nfrom = "istft"', r"a signal is hop = 8 samples a step, 'istft.block' gives 32"),
    (SPECTRAL + '[decider]\ntype = "hysteresis"\ndirection = "above"\nwarning = 1', r"a decider judges scores"),
    (ECHO + '[decider]\ntype = "hysteresis"\ndirection = "above"\nwarning = 1\noutput = 4', r"output 4 does not exist"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_it_is_said_where_and_what(tmp_path: Path, text: str, says: str) -> None:
    small_models.growing(tmp_path / "growing.onnx")
    small_models.random(tmp_path / "random.onnx")
    head = text + '[source]\ntype = "audio"\npath = "in.wav"\nrate_hz = 16000\n' if text.startswith("model =") else None
    with pytest.raises(ConfigError, match=says) as caught:
        build(tmp_path, "", head) if head else build(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'pipeline.toml'}, line ")
    assert "\n" not in message


def test_the_right_sum_is_taken(tmp_path: Path) -> None:
    digest = hashlib.sha256(small_models.echo(tmp_path / "echo.onnx").read_bytes()).hexdigest()
    config = build(tmp_path, ECHO + f'sha256 = "{digest.upper()}"')
    assert config.about.model == "echo"
    version = config.about.model_version
    assert version == build(tmp_path, ECHO).about.model_version
    assert len(version) == 12


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    good = {
        "onnx": small_models.echo(tmp_path / "whole.onnx").read_bytes(),
        "tflite": small_models.tflite_sum(tmp_path / "whole.tflite", (1, 4)).read_bytes(),
    }
    for kind, raw in good.items():
        text = f'[[model]]\ntype = "{kind}"\nfile = "cut.{kind}"\nhop = 4\n'
        for length in (0, 1, len(raw) // 3, len(raw) - 9):
            (tmp_path / f"cut.{kind}").write_bytes(raw[:length])
            with pytest.raises(ConfigError, match=rf"model\[0\].*cut\.{kind}") as caught:
                build(tmp_path, text)
            assert "\n" not in str(caught.value)


def test_a_tflite_file_of_another_schema_is_one_sentence(tmp_path: Path) -> None:
    raw = bytearray(small_models.tflite_sum(tmp_path / "whole.tflite", (1, 4)).read_bytes())
    # The library speaks of it in two lines. The version is the one int32 of 3 in this small file.
    place = next(i for i in range(0, len(raw), 4) if raw[i : i + 4] == b"\3\0\0\0")
    raw[place] = 77
    (tmp_path / "other.tflite").write_bytes(raw)
    with pytest.raises(ConfigError, match=r"schema version 77 .* 3\.$") as caught:
        build(tmp_path, '[[model]]\ntype = "tflite"\nfile = "other.tflite"\nhop = 4\n')
    assert "\n" not in str(caught.value)


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "LITERT", ("no_such_library",))
    with pytest.raises(ConfigError, match=r"line 12: model\[1\]: .*pip install 'edgeseq\[tflite\]'"):
        build(tmp_path, SPECTRAL)


def test_a_stage_of_two_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "two.wav", np.zeros((8, 2)), 16000)
    head = '[source]\ntype = "audio"\npath = "two.wav"\nrate_hz = 16000\nchannels = ["left", "right"]\n'
    with pytest.raises(ConfigError, match="takes 8 samples of one channel a step"):
        build(tmp_path, SPECTRAL, head)


def test_output_without_stages(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the bundle says what its output is"):
        build(tmp_path, '[model]\nbundle = "x"\n[output]\nkind = "scores"\n')


def test_the_conformance_of_stages_covers_all() -> None:
    assert set(plugins.known("stages")) == {"onnx", "tflite", "stft", "mask", "istft", "overlap_add"}
