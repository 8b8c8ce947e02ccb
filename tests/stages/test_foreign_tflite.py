"""TFLite steps that other people's tools quantized run as they are: foreign/make_tflite.py says how they were made.

The same file runs on ai-edge-litert and, by `make test-legacy`, on tflite-runtime 2.14.
"""

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseq import config as configs
from edgeseq import libraries
from edgeseq.cli import main
from edgeseq.errors import ConfigError
from edgeseq.models.chain import Chain
from edgeseq.stages import _tflite_file
from edgeseq.stages._scale import Scale

FOREIGN = Path(__file__).parent / "foreign"
CHANNELS = ["a", "b", "c", "d"]
# The rms error that a file has against float32, free running, as a share of the spread: what edgeseq's own variants of
# these widths may have. ai-edge-quantizer's calibration cuts the frames' range, so its files have no such bound.
LOSS = {"int8": 0.04, "uint8": 0.04, "float_outside": 0.04, "int16": 0.01, "other_int8": None, "other_int16": None}
INTEGERS = {"int8": "int8", "uint8": "uint8", "other_int8": "int8", "int16": "int16", "other_int16": "int16"}


@pytest.fixture(scope="module")
def truth() -> Any:
    with np.load(FOREIGN / "truth.npz") as arrays:
        return dict(arrays)


def written(folder: Path, file: Path, more: str = "") -> Path:
    rows = [",".join(CHANNELS), *(",".join(["0.5"] * 4) for _ in range(6))]
    (folder / "in.csv").write_text("\n".join(rows))
    path = folder / "pipeline.toml"
    path.write_text(
        f'name = "foreign"\n[source]\ntype = "csv"\npath = "in.csv"\nchannels = {json.dumps(CHANNELS)}\nrate_hz = 1\n'
        f'[[model]]\nname = "m"\ntype = "tflite"\nfile = "{file}"\n{more}\n'
    )
    return path


def chain(folder: Path, file: Path, more: str = "") -> Chain:
    found = configs.load(written(folder, file, more)).trained.chain  # type: ignore[union-attr]
    assert isinstance(found, Chain)
    return found


def plainly(file: Path, frames: Any) -> Any:
    """Return what the file gives by the library's own way of running it, real numbers carried between its ends."""
    runner = libraries.litert()(str(file)).get_signature_runner("step")
    enters, leaves = runner.get_input_details(), runner.get_output_details()

    def stored(name: str, real: Any) -> Any:
        (scale, zero), kind = enters[name]["quantization"], enters[name]["dtype"]
        if not scale:
            return real
        return np.clip(np.rint(real / scale) + zero, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)

    def real(name: str, value: Any) -> Any:
        scale, zero = leaves[name]["quantization"]
        return (value.astype(np.float64) - zero) * scale if scale else value

    memory, rows = np.zeros((1, 8), np.float32), []
    for frame in frames:
        given = runner(frame=stored("frame", frame[None]), memory=stored("memory", memory))
        memory = real("memory_next", given["memory_next"])
        rows.append(real("score", given["score"])[0])
    return np.array(rows, np.float32)


@pytest.mark.parametrize("name", LOSS)
def test_it_computes_what_the_file_does(tmp_path: Path, truth: Any, name: str) -> None:
    model, frames = chain(tmp_path, FOREIGN / f"{name}.tflite"), truth["frames"]
    y = model.run(frames)
    np.testing.assert_array_equal(y, plainly(FOREIGN / f"{name}.tflite", frames))
    bound = LOSS[name]
    assert bound is None or np.sqrt(np.square(y - truth["scores"]).mean()) < bound * truth["scores"].std()


@pytest.mark.parametrize("name", INTEGERS)
def test_state_is_the_files_own_integers(tmp_path: Path, truth: Any, name: str) -> None:
    model = chain(tmp_path, FOREIGN / f"{name}.tflite")
    before = model.get_state()["m.memory"]
    details = libraries.litert()(str(FOREIGN / f"{name}.tflite")).get_signature_runner("step").get_input_details()
    assert before.dtype == INTEGERS[name]
    np.testing.assert_array_equal(before, details["memory"]["quantization"][1], "real 0 is the zero point")
    model.run(truth["frames"][:40])
    kept, after = model.get_state(), model.run(truth["frames"][40:])
    other = model.fork()
    other.set_state(kept)
    np.testing.assert_array_equal(
        np.concatenate([other.run(truth["frames"][n : n + 1]) for n in range(40, 300)]), after
    )
    model.reset()
    np.testing.assert_array_equal(model.get_state()["m.memory"], before)


def test_int8_weights_of_a_float_step(tmp_path: Path, truth: Any) -> None:
    """tflite-runtime 2.14 takes the weights' scales for one: off by several standard deviations, and silent."""
    file = FOREIGN / "other_dynamic.tflite"
    assert _tflite_file.mixed_product(file.read_bytes())
    assert not any(_tflite_file.mixed_product((FOREIGN / f"{name}.tflite").read_bytes()) for name in LOSS)
    if libraries.litert().__module__.startswith("tflite_runtime"):
        with pytest.raises(ConfigError, match=r"tflite-runtime 2\.14 gives wrong numbers .* pip install") as caught:
            configs.load(written(tmp_path, file))
        assert "\n" not in str(caught.value)
        return
    y = chain(tmp_path, file).run(truth["frames"])
    assert np.sqrt(np.square(y - truth["scores"]).mean()) < 0.04 * truth["scores"].std()


def test_streams_share_nothing(tmp_path: Path, truth: Any) -> None:
    model, frames = chain(tmp_path, FOREIGN / "int8.tflite"), truth["frames"]
    alone = model.fork().run(frames[:60])
    one, two = model.fork(), model.fork()
    for row in range(60):
        np.testing.assert_array_equal(one.step(frames[row]), alone[row])
        two.step(frames[-row - 1])


def test_an_initial_value_is_a_real_number(tmp_path: Path, truth: Any) -> None:
    """Also where frames lie beyond what the file's scale reaches: they are cut, as its maker's own tools do."""
    pair = 'states = [{ input = "memory", output = "memory_next", initial = 0.25 }]'
    model = chain(tmp_path, FOREIGN / "int8.tflite", pair)
    scale, zero = 0.0, 0
    for detail in libraries.litert()(str(FOREIGN / "int8.tflite")).get_input_details():
        if detail["shape"][-1] == 8:
            scale, zero = detail["quantization"]
    np.testing.assert_array_equal(model.get_state()["m.memory"], np.rint(0.25 / scale) + zero)
    far = np.full((5, 4), 1e6, np.float32)
    np.testing.assert_array_equal(model.fork().run(far), model.fork().run(far / 1e3))
    assert truth["frames"].max() < 1e3


def test_scales_that_differ_are_converted_and_told(tmp_path: Path) -> None:
    differing = chain(tmp_path, FOREIGN / "other_int8.tflite").words()[0]
    assert (
        "memory converted from int8 at scale 0.00496837 from -32 [1, 8] to int8 at scale 0.00500156 from -30"
        in differing
    )
    # TensorFlow notes the two ends apart by the last bit of a float32: no integer shows it, nothing is converted.
    for name in ("int8", "int16"):
        assert "converted" not in chain(tmp_path, FOREIGN / f"{name}.tflite").words()[0]


def test_one_signature_of_several(tmp_path: Path, truth: Any) -> None:
    y = chain(tmp_path, FOREIGN / "two.tflite", 'signature = "step"').run(truth["frames"])
    np.testing.assert_allclose(y, truth["scores"], atol=2e-6)
    energy = chain(tmp_path, FOREIGN / "two.tflite", 'signature = "energy"').run(truth["frames"])
    np.testing.assert_allclose(energy[:, 0], np.square(truth["frames"]).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("two", "", r"model\[0\]\.file: two\.tflite has several signatures: 'energy', 'step'\. Say which by the key"),
        ("two", 'signature = "stp"', r"line 11: model\[0\]\.signature: .*no signature 'stp'\. Did you mean 'step'"),
        ("inside", "", r"keeps its state inside, in resource variables \(ASSIGN_VARIABLE\): streams would share it"),
        ("int8", 'states = [{ input = "memory", output = "score" }]',
         r"enters as int8 at scale 0\.\d+ from .* \[1, 8\] and leaves as int8 at scale .* \[1, 2\]: these two do not"),
        ("int8", 'states = [{ input = "memori", output = "memory_next" }]', r"no input 'memori'.*mean 'memory'"),
        ("int8", "states = []", r"nothing feeds the inputs .*'memory' \[1, 8\]"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(tmp_path: Path, name: str, more: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        configs.load(written(tmp_path, FOREIGN / f"{name}.tflite", more))
    assert "\n" not in str(caught.value)


def test_check_and_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, FOREIGN / "int8.tflite")
    assert main(["check", str(config)]) == 0
    assert "state memory from memory_next (the only pairing" in capsys.readouterr().out
    assert main(["replay", str(config), "--output", str(tmp_path / "out.csv")]) == 0
    lines = (tmp_path / "out.csv").read_text().splitlines()
    expected = plainly(FOREIGN / "int8.tflite", np.full((6, 4), 0.5, np.float32))
    np.testing.assert_allclose([[float(n) for n in line.split(",")[-2:]] for line in lines[1:]], expected, rtol=1e-5)


def altered(folder: Path, change: Any) -> Path:
    """Write int8.tflite after a change of its tables."""
    flatbuffers = pytest.importorskip("flatbuffers")
    try:
        schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError:
        pytest.skip("the schema comes with ai-edge-litert alone")
    model = schema.ModelT.InitFromPackedBuf((FOREIGN / "int8.tflite").read_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder(8192)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = folder / "altered.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def test_without_a_signature_the_tensors_names_count(tmp_path: Path, truth: Any) -> None:
    def strip(model: Any) -> None:
        model.signatureDefs = []

    model = chain(tmp_path, altered(tmp_path, strip))
    assert "state step_memory:0 from PartitionedCall:0" in model.words()[0]
    np.testing.assert_array_equal(
        model.run(truth["frames"]), chain(tmp_path, FOREIGN / "int8.tflite").run(truth["frames"])
    )


def test_two_of_one_name_without_a_signature(tmp_path: Path) -> None:
    def alike(model: Any) -> None:
        model.signatureDefs = []
        for place in model.subgraphs[0].inputs:
            model.subgraphs[0].tensors[place].name = b"x"

    with pytest.raises(ConfigError, match="several inputs or outputs of one name"):
        configs.load(written(tmp_path, altered(tmp_path, alike)))


def test_a_variable_tensor_is_a_state_inside(tmp_path: Path) -> None:
    def inside(model: Any) -> None:
        graph = model.subgraphs[0]
        place = next(place for place in graph.inputs if graph.tensors[place].shape[-1] == 8)
        graph.tensors[place].isVariable = True
        graph.inputs = [other for other in graph.inputs if other != place]
        model.signatureDefs = []

    with pytest.raises(ConfigError, match=r"keeps its state inside, in the variable tensor 'step_memory:0'"):
        configs.load(written(tmp_path, altered(tmp_path, inside)))


@pytest.mark.parametrize(("count", "says"), [(0, "does not say what they mean"), (4, "not one and the same wherever")])
def test_integers_without_a_meaning(tmp_path: Path, count: int, says: str) -> None:
    def silent(model: Any) -> None:
        for tensor in (model.subgraphs[0].tensors[place] for place in model.subgraphs[0].inputs):
            if tensor.shape[-1] == 4:
                tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1] * count, [0] * count
                tensor.quantization.quantizedDimension = 1

    with pytest.raises(ConfigError, match=rf"'frame' \[1, 4\] \(int8, integers .*{says}") as caught:
        configs.load(written(tmp_path, altered(tmp_path, silent)))
    assert "\n" not in str(caught.value)


def test_a_state_of_which_one_end_is_silent(tmp_path: Path) -> None:
    def silent(model: Any) -> None:
        for tensor in (model.subgraphs[0].tensors[place] for place in model.subgraphs[0].outputs):
            if tensor.shape[-1] == 8:
                tensor.quantization = None

    pair = 'states = [{ input = "memory", output = "memory_next" }]'
    with pytest.raises(ConfigError, match=r"enters as int8 at scale .* and leaves as int8 \[1, 8\]: these two"):
        configs.load(written(tmp_path, altered(tmp_path, silent), pair))


def test_the_reader_of_tables_minds_every_bit() -> None:
    raw = bytearray((FOREIGN / "inside.tflite").read_bytes())
    assert _tflite_file.memory(bytes(raw)) == "resource variables (ASSIGN_VARIABLE)"
    for place in range(len(raw)):
        raw[place] ^= 1 << place % 8
        for asked in (_tflite_file.memory, _tflite_file.mixed_product):
            with contextlib.suppress(_tflite_file.UnreadableError):
                asked(bytes(raw))
        raw[place] ^= 1 << place % 8
    for length in range(0, len(raw), 7):
        for asked in (_tflite_file.memory, _tflite_file.mixed_product):
            with contextlib.suppress(_tflite_file.UnreadableError):
                asked(bytes(raw[:length]))


def test_scales_that_mean_the_same() -> None:
    one = Scale(np.dtype(np.int8), 1 / 128, 3)
    assert one.means(Scale(np.dtype(np.int8), 1 / 128 * (1 + 1e-7), 3))
    assert not one.means(Scale(np.dtype(np.int8), 1 / 128, 4))
    assert not one.means(Scale(np.dtype(np.int8), 1 / 127, 3))
    assert not one.means(Scale(np.dtype(np.uint8), 1 / 128, 3))
    values = np.array([-1e9, -0.5, 0.5 / 128, 1.5 / 128, 1e9])
    np.testing.assert_array_equal(one.stored(values), [-128, -61, 3, 5, 127])
