"""ONNX steps that onnxruntime's quantizer made run as they are, in all its forms, their edges float or integers."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import ort_quantized as quantized
import pytest
from onnx import TensorProto, helper, numpy_helper
from ort_quantized import OPERATORS, QDQ, S8, S16, U8

from edgeseq import config as configs
from edgeseq.errors import ConfigError
from edgeseq.models.chain import Chain
from edgeseq.stages import _onnx_scales
from edgeseq.stages import onnx as stage

FORMS = {
    "qdq-u8s8": (QDQ, (U8, S8)),
    "qdq-u8u8": (QDQ, (U8, U8)),
    "qdq-s8s8": (QDQ, (S8, S8)),
    "qdq-s16s8": (QDQ, (S16, S8)),
    "operators-u8u8": (OPERATORS, (U8, U8)),
    "operators-u8s8": (OPERATORS, (U8, S8)),
}
STATE = 'states = [{ input = "h", output = "h_next" }]'


def frames(steps: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(steps, 4)).astype(np.float32)


def session(path: Path) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if stage._overflows():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(path), options)


def plainly(path: Path, x: Any) -> Any:
    """Return what the file gives, its float state carried by hand."""
    runtime, h, rows = session(path), np.zeros((1, 8), np.float32), []
    for frame in x:
        y, h = runtime.run(["y", "h_next"], {"x": frame[None], "h": h})
        rows.append(y[0])
    return np.array(rows)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the step, and all its quantized forms, calibrated on noise, which every end has its own range of."""
    folder = tmp_path_factory.mktemp("models")
    step = quantized.gru_step(folder / "step.onnx")
    rng = np.random.default_rng(3)
    feeds = [{"x": x[None], "h": rng.uniform(-0.8, 0.8, (1, 8)).astype(np.float32)} for x in frames(200)]
    for name, (form, kinds) in FORMS.items():
        made = quantized.static(step, folder / f"{name}.onnx", feeds, form, kinds)
        quantized.with_integer_edges(made, folder / f"{name}-edges.onnx")
    quantized.dynamic(step, folder / "dynamic.onnx")
    return folder


def written(folder: Path, file: Path, more: str = STATE) -> Path:
    (folder / "in.csv").write_text("a,b,c,d\n0,0,0,0\n")
    path = folder / "pipeline.toml"
    path.write_text(
        'name = "foreign"\n[source]\ntype = "csv"\npath = "in.csv"\nchannels = ["a", "b", "c", "d"]\nrate_hz = 1\n'
        f'[[model]]\nname = "m"\ntype = "onnx"\nfile = "{file}"\n{more}\n'
    )
    return path


def chain(folder: Path, file: Path, more: str = STATE) -> Chain:
    found = configs.load(written(folder, file, more)).trained.chain  # type: ignore[union-attr]
    assert isinstance(found, Chain)
    return found


@pytest.mark.parametrize("name", [*FORMS, "dynamic"])
def test_float_states(tmp_path: Path, models: Path, name: str) -> None:
    x = frames(300, seed=2)
    y = chain(tmp_path, models / f"{name}.onnx").run(x)
    np.testing.assert_array_equal(y, plainly(models / f"{name}.onnx", x))
    whole = plainly(models / "step.onnx", x)
    # A step of 1/128 of the state's range, rounded a dozen times a step, and fed back.
    assert 0 < np.sqrt(np.square(y - whole).mean()) < 0.1 * whole.std(), "quantized, and still the model"


@pytest.mark.parametrize("name", FORMS)
def test_integer_edges(tmp_path: Path, models: Path, name: str) -> None:
    """Frames, state and scores in the file's integers: what the same file gives that makes them itself, bit for bit.

    The state leaves by another scale than it enters by, since each was calibrated by itself.
    """
    x, model = frames(300, seed=2), chain(tmp_path, models / f"{name}-edges.onnx")
    assert "h converted from" in model.words()[0]
    before = model.get_state()["m.h"]
    assert before.dtype == {"u8": "uint8", "s8": "int8", "s1": "int16"}[name.rpartition("-")[2][:2]]
    y = model.run(x)
    np.testing.assert_array_equal(y, plainly(models / f"{name}.onnx", x))
    model.reset()
    np.testing.assert_array_equal(np.concatenate([model.run(part) for part in np.split(x, [1, 7, 150])]), y)
    model.reset()
    np.testing.assert_array_equal(model.get_state()["m.h"], before)


@pytest.mark.parametrize("name", FORMS)
def test_where_sums_would_overflow(tmp_path: Path, models: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On x86 without VNNI int8 weights become uint8, which changes nothing where nothing overflows."""
    x = frames(50, seed=2)
    usual = chain(tmp_path, models / f"{name}.onnx").run(x)
    monkeypatch.setattr(stage, "_overflows", lambda: True)
    np.testing.assert_array_equal(chain(tmp_path, models / f"{name}.onnx").run(x), usual)


def test_processors_without_wide_sums_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = tmp_path / "cpuinfo"
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for text, answer in (("flags : avx2", True), ("flags : avx2 avx_vnni", False), ("flags: avx512_vnni", False)):
        flags.write_text(text)
        assert stage._overflows(flags) is answer
    assert stage._overflows(tmp_path / "none") is True
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert stage._overflows(tmp_path / "none") is False


def test_pairs_are_found_among_integers(tmp_path: Path, models: Path) -> None:
    words = chain(tmp_path, models / "qdq-u8s8-edges.onnx", "").words()[0]
    assert "state h from h_next (the only pairing that shapes and types allow)" in words


def step(
    path: Path, *, enters: list[tuple[float, int]], leaves: list[tuple[float, int]], computed: bool = False
) -> Path:
    """Write h_next = h + x with uint8 edges; enters, leaves: scale and zero point of all places that say so."""
    node, kept = helper.make_node, {}
    nodes = [node("DequantizeLinear", ["x", "sx", "zx"], ["xr"]), node("Identity", ["h"], ["same"])]
    kept |= {"sx": np.float32(0.1), "zx": np.uint8(100)}
    ends = []
    for kind, scales in (("h", enters), ("n", leaves)):
        for place, (scale, zero) in enumerate(scales):
            kept |= {f"s{kind}{place}": np.float32(scale), f"z{kind}{place}": np.uint8(zero)}
    for place in range(len(enters)):
        nodes.append(node("DequantizeLinear", ["same", f"sh{place}", f"zh{place}"], [f"h{place}"]))
        ends.append(f"h{place}")
    if not enters:
        nodes.append(node("Cast", ["same"], ["h0"], to=TensorProto.FLOAT))
        ends = ["h0"]
    nodes.append(node("Sum", ["xr", *ends], ["y"]))
    if leaves:
        scale = "sn0"
        if computed:
            nodes.append(node("ReduceMax", ["y"], ["largest"], keepdims=0))
            nodes.append(node("Abs", ["largest"], ["scale"]))
            scale = "scale"
        nodes.append(node("QuantizeLinear", ["y", scale, "zn0"], ["h_next"]))
    else:
        nodes.append(node("Cast", ["y"], ["h_next"], to=TensorProto.UINT8))
    value = helper.make_tensor_value_info
    edges = [value("x", TensorProto.UINT8, [1, 4]), value("h", TensorProto.UINT8, [1, 4])]
    out = [value("y", TensorProto.FLOAT, [1, 4]), value("h_next", TensorProto.UINT8, [1, 4])]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in kept.items()]
    graph = helper.make_graph(nodes, "step", edges, out, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_zero_points_that_differ_are_no_offset(tmp_path: Path) -> None:
    """Handed over as they are, the state's integers would grow by 10 steps with every step."""
    file = step(tmp_path / "a.onnx", enters=[(0.1, 90)], leaves=[(0.1, 100)])
    y = chain(tmp_path, file).run(np.full((4, 4), 0.5, np.float32))
    np.testing.assert_allclose(y[:, 0], [0.5, 1.0, 1.5, 2.0], rtol=1e-6)
    same = chain(tmp_path, step(tmp_path / "b.onnx", enters=[(0.1, 90)], leaves=[(0.1, 90)]))
    assert "converted" not in same.words()[0]
    np.testing.assert_allclose(same.run(np.full((4, 4), 0.5, np.float32)), y, rtol=1e-6)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"enters": [(0.1, 90)], "leaves": []}, r"enters as uint8 at scale 0\.1 from 90 .* leaves as uint8 \[1, 4\]"),
        ({"enters": [], "leaves": [(0.1, 90)]}, r"enters as uint8 \[1, 4\] and leaves as uint8 at scale 0\.1 from 90"),
        ({"enters": [(0.1, 90)], "leaves": [(0.1, 90)], "computed": True}, "leaves as uint8 .*: these two do not"),
        ({"enters": [(0.1, 90), (0.2, 90)], "leaves": []}, r"'h' \[1, 4\] \(uint8, integers whose scale is not one"),
    ],
)  # fmt: skip
def test_a_state_whose_meaning_is_lost(tmp_path: Path, made: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        chain(tmp_path, step(tmp_path / "a.onnx", **made))
    assert "\n" not in str(caught.value)


def test_integers_that_mean_themselves(tmp_path: Path) -> None:
    """A counter has no scale at either end: it goes round as it is."""
    file = step(tmp_path / "a.onnx", enters=[], leaves=[])
    y = chain(tmp_path, file).run(np.full((4, 4), 1.0, np.float32))
    np.testing.assert_allclose(y[:, 0], [1, 2, 3, 4], rtol=1e-6)


def test_a_constant_is_a_real_number(tmp_path: Path) -> None:
    file = step(tmp_path / "a.onnx", enters=[(0.1, 90)], leaves=[(0.1, 90)])
    model = chain(tmp_path, file, 'constants = { h = 2.5 }\n[output]\nfrom = "m.y"')
    assert "h held at 2.5" in model.words()[0]
    np.testing.assert_allclose(model.run(np.zeros((1, 4), np.float32)), 2.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("qdq-u8s8-edges", 'states = [{ input = "h", output = "y" }]', r"these two do not belong together"),
        ("qdq-u8s8-edges", "states = []", r"nothing feeds the inputs 'x' \[1, 4\], 'h' \[1, 8\]"),
        ("qdq-u8s8-edges", 'states = [{ input = "g", output = "h_next" }]', r"no input 'g'"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, models: Path, name: str, more: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        chain(tmp_path, models / f"{name}.onnx", more)
    assert "\n" not in str(caught.value)


def test_what_onnxruntime_has_no_kernel_for(tmp_path: Path, models: Path) -> None:
    model = onnx.load(models / "operators-u8u8.onnx")
    for node in model.graph.node:
        if node.op_type == "QGemm":
            node.op_type = "QGemmOfTomorrow"
    onnx.save(model, tmp_path / "unknown.onnx")
    with pytest.raises(
        ConfigError, match=r"model\[0\]\.file: .*unknown\.onnx: ONNX Runtime .* cannot load it: .*QGemmOf"
    ) as caught:
        chain(tmp_path, tmp_path / "unknown.onnx")
    assert "\n" not in str(caught.value)


def test_scales_stand_in_every_form_that_onnx_has() -> None:
    """Raw bytes, typed fields, Constant nodes, float16: what onnx itself writes, read without it."""
    raw, typed = numpy_helper.from_array(np.float32(0.25), "s"), helper.make_tensor("z", TensorProto.INT8, [], [-7])
    half = helper.make_tensor("half", TensorProto.FLOAT16, [1], [0.5])
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("", TensorProto.FLOAT, [1], [2.0]))
    nodes = [
        constant,
        helper.make_node("DequantizeLinear", ["a", "s", "z"], ["ar"]),
        helper.make_node("DequantizeLinear", ["b", "half"], ["br"]),
        helper.make_node("QuantizeLinear", ["ar", "c", "z"], ["d"]),
        helper.make_node("Concat", ["d", "e"], ["f"], axis=0),
        helper.make_node("Transpose", ["f"], ["g"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value(n, TensorProto.INT8, [4]) for n in "abe"], [], [raw, typed, half])
    found = _onnx_scales.scales(helper.make_model(graph).SerializeToString())
    assert found == {"a": [(0.25, -7)], "b": [(0.5, 0)], **{name: [(2.0, -7)] for name in "defg"}}


def test_the_reader_minds_every_bit(tmp_path: Path) -> None:
    raw = bytearray(step(tmp_path / "a.onnx", enters=[(0.1, 90)], leaves=[(0.1, 100)]).read_bytes())
    assert _onnx_scales.scales(bytes(raw))["h_next"] == [(pytest.approx(0.1), 100)]
    for place in range(len(raw) * 8):
        raw[place // 8] ^= 1 << place % 8
        with contextlib.suppress(_onnx_scales.UnreadableError):
            _onnx_scales.scales(bytes(raw))
        raw[place // 8] ^= 1 << place % 8
    for length in range(len(raw)):
        with contextlib.suppress(_onnx_scales.UnreadableError):
            _onnx_scales.scales(bytes(raw[:length]))
