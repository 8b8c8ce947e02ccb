"""Encoder-decoders on the native engine and on LiteRT: what the original and the reference give, whatever the source's
length.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import test_quantized_pairs as pairs
from test_native_integers import every_op_gives_the_references_integers

import edgeseq.backends.native.lengths
from edgeseq.backends.native import engine
from edgeseq.backends.native.ahead import STEPS
from edgeseq.bundle import GenerateTable, ModelFile
from edgeseq.errors import ModelError
from edgeseq.models import encoder_decoder
from edgeseq.models.encoder_decoder import EncoderDecoder
from export.native import states
from export.program import Array
from export.quantize.step import exact, stored_states
from export.variants import file_of, state_tensors
from export.writers import native, tflite
from export.writers import onnx as onnx_writer

GENERATE = GenerateTable(start=1, stop=5, max_length=pairs.STEPS)
NAMES = [*pairs.FAMILIES]
HELD = ("lstm with additive attention", "transformer", "between attention")
"""One whose encoder steps, one whose encoder runs over the whole source, one whose encoder does both."""
FEW = (*HELD, "gru", "lstm", "loop, dot", "packed", "convolved", "pyramid")
"""Those, two that are whole throughout, a loop, a packed one, convolutions, and one whose rows are half its frames."""
EVERY = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FEW else pytest.mark.long) for name in NAMES]
)
SOME = pytest.mark.parametrize("name", HELD)
ENGINES = pytest.mark.parametrize("backend", ["native", "litert"])
BOTH = pytest.mark.parametrize("variant", ["int8", "w8a16"])


@functools.cache
def family(name: str) -> pairs.Family:
    return pairs.family(name)


def written(made: pairs.Family, variant: str, backend: str, folder: Path) -> list[ModelFile]:
    """Write all graphs' files."""
    files = []
    programs = made.floats if variant == "float32" else made.programs(variant)
    for program, stream, graph in zip(programs, made.streams, made.graphs, strict=True):
        if backend == "native":
            file = file_of(program, variant, "npz", 0, states(program), graph.name)
            native.write(folder / file.path, program)
        elif backend == "litert":
            file = file_of(program, variant, "tflite", 0, stored_states(program), graph.name)
            content = tflite.write(program, [str(value.name) for value in stream.outputs])
            (folder / file.path).write_bytes(content)
        else:
            path = f"{graph.name}.float32.onnx"
            onnx.save(onnx_writer.float_step(stream), str(folder / path))
            file = ModelFile(
                path=path, graph=graph.name, variant=variant, format="onnx", states=state_tensors(stream)
            )  # fmt: skip
        files.append(file)
    return files


def opened(made: pairs.Family, variant: str, backend: str, folder: Path) -> EncoderDecoder:
    return encoder_decoder.opened(folder, backend, made.graphs, written(made, variant, backend, folder), GENERATE)


def original(made: pairs.Family, source: Array, target: Array) -> Array:
    return made.model.outputs(source, target, made.model.double)


@EVERY
@ENGINES
def test_it_is_the_original_for_sources_of_several_lengths_in_a_row(name: str, backend: str, tmp_path: Path) -> None:
    made = family(name)
    model = opened(made, "float32", backend, tmp_path)
    assert model.backend == backend
    target, seen = made.target(pairs.STEPS), {}
    for length in (*pairs.OTHERS, 1, made.halves.lengths[0], *pairs.OTHERS):
        source = made.source(length)
        given, expected = model.logits(source, target), original(made, source, target)
        np.testing.assert_allclose(given, expected, rtol=0, atol=2e-5 * max(1.0, float(np.abs(expected).max())))
        np.testing.assert_array_equal(seen.setdefault(length, given), given)


@EVERY
@ENGINES
def test_greedy_and_beams_are_those_of_the_original_and_of_onnxruntime(name: str, backend: str, tmp_path: Path) -> None:
    made = family(name)
    model, other = (opened(made, "float32", on, tmp_path) for on in (backend, "ort"))
    for length in pairs.OTHERS:
        source, tokens = made.source(length), [GENERATE.start]
        while len(tokens) <= GENERATE.max_length and (len(tokens) == 1 or tokens[-1] != GENERATE.stop):
            target = np.array(tokens, np.float32)[:, None]
            tokens.append(int(np.argmax(original(made, source, target)[-1])))
        found = model.generate(source)
        assert found.finished == (tokens[-1] == GENERATE.stop)
        assert found.tokens == tuple(tokens[1 : -1 if found.finished else None])
        for beams in (2, 5):
            found, expected = model.generate(source, beams=beams), other.generate(source, beams=beams)
            assert (found.tokens, found.finished) == (expected.tokens, expected.finished)
            assert found.score == pytest.approx(expected.score, abs=1e-5)


@EVERY
@ENGINES
@BOTH
def test_its_integers_stay_beside_the_references_on_sources_of_other_lengths(
    name: str, backend: str, variant: str, tmp_path: Path
) -> None:
    """As of ONNX Runtime: rounding may differ here and there. The native engine's may not where all is whole."""
    made = family(name)
    model = opened(made, variant, backend, tmp_path)
    reference = pairs.on_the_reference(made, variant)
    rows: list[list[Array]] = []
    for length in pairs.OTHERS:
        source, target = made.source(length), made.target(pairs.STEPS)
        rows.append([
            model.logits(source, target), reference.logits(source, target), original(made, source, target)
        ])  # fmt: skip
    y, expected, truth = (np.concatenate(parts).astype(np.float64) for parts in zip(*rows, strict=True))
    away, most = pairs.apart(y, expected, truth, variant)
    assert (away <= most).all(), (away, most)
    if backend == "native" and all(map(exact, made.programs(variant))):
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_some_are_whole_throughout(name: str) -> None:
    assert all(map(exact, family(name).programs("int8")))


@EVERY
@BOTH
def test_every_op_fed_the_references_values_gives_its_integers(name: str, variant: str, tmp_path: Path) -> None:
    made = family(name)
    *parts, decoder = made.programs(variant)
    native.write(tmp_path / "decoder.npz", decoder)
    frames = made.target(8)[:, None, None]
    assert every_op_gives_the_references_integers(
        decoder, tmp_path / "decoder.npz", frames, made.memory(pairs.OTHERS[1])
    )
    for place, part in enumerate(parts):
        native.write(tmp_path / "part.npz", part)
        rows, held = made.taken(place, pairs.OTHERS[1])
        steps = rows.reshape(len(rows) // part.frames, 1, part.frames, rows.shape[1])
        assert every_op_gives_the_references_integers(part, tmp_path / "part.npz", steps, held)


@SOME
@ENGINES
def test_forks_hold_memories_of_their_own(name: str, backend: str, tmp_path: Path) -> None:
    made = family(name)
    model = opened(made, "float32", backend, tmp_path)
    sources, target = [made.source(length) for length in (5, 9, 5)], made.target(6)
    expected = [model.logits(source, target) for source in sources]
    memories = [model.encode(source) for source in sources]
    first = model.decoder(memories[0])
    decoders = [first, first.fork(), first.fork()]
    decoders[1].hold(memories[1])
    steps = [[decoder.step(row) for decoder in decoders] for row in target]
    for place in range(3):
        np.testing.assert_array_equal([row[place] for row in steps], expected[place])
    state = first.get_state()
    later = first.run(target[:2]) if first._graph.max_steps is None else None  # type: ignore[attr-defined]
    first.set_state(state)
    if later is not None:
        np.testing.assert_array_equal(first.run(target[:2]), later)


@pytest.mark.parametrize("name", ["gru", "lstm with additive attention"])
def test_what_is_computed_ahead_goes_with_its_layout(name: str, tmp_path: Path) -> None:
    """A length that comes back brings its layout back, whose rows computed ahead are gone by then."""
    made = family(name)
    model, target = opened(made, "float32", "native", tmp_path), made.target(3 * STEPS)
    decoder: Any = model._decoder
    for length in (5, 9, 5, 9):
        decoder.hold(model.encode(made.source(length)))
        assert not decoder._board[engine.AHEAD]
        expected = np.array([decoder.step(row) for row in target])
        decoder.reset()
        # Fewer than are computed at once, then enough.
        np.testing.assert_array_equal(decoder.run(target[:10]), expected[:10])
        np.testing.assert_array_equal(decoder.run(target[10:]), expected[10:])
        assert decoder._ahead


def test_only_so_many_layouts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, target = family("transformer"), family("transformer").target(4)
    model = opened(made, "float32", "native", tmp_path)
    expected = {length: model.logits(made.source(length), target) for length in range(1, 12)}
    decoder: Any = model._decoder
    assert len(decoder._lengths._kept) == len(expected)
    monkeypatch.setattr(edgeseq.backends.native.lengths, "KEPT_BYTES", 3 * decoder._lengths.first.plan.bytes)
    for length in (11, 3, 4, 11, 5, 6):
        np.testing.assert_array_equal(model.logits(made.source(length), target), expected[length])
        kept = [layout.plan.bytes for layout in decoder._lengths._kept.values()]
        assert 1 <= sum(kept) <= edgeseq.backends.native.lengths.KEPT_BYTES
    monkeypatch.setattr(edgeseq.backends.native.lengths, "KEPT_BYTES", 1)
    for length in (7, 8, 7):
        np.testing.assert_array_equal(model.logits(made.source(length), target), expected[length])
        assert len(decoder._lengths._kept) == 1


@pytest.mark.parametrize("backend", ["native", "litert", "ort"])
def test_a_source_beyond_the_table_of_positions_is_refused_and_the_next_one_read(backend: str, tmp_path: Path) -> None:
    made = family("transformer")
    model, target = opened(made, "float32", backend, tmp_path), made.target(4)
    expected = model.logits(made.source(64), target)
    for length in (65, 200):
        with pytest.raises(ModelError, match=rf"encoder.*: does not run on a source of {length} frames: .*") as told:
            model.encode(made.source(64)[np.arange(length) % 64])
        assert str(told.value).count(str(tmp_path)) == 1
    np.testing.assert_array_equal(model.logits(made.source(64), target), expected)


@SOME
@pytest.mark.parametrize("backend", ["native", "litert", "ort"])
def test_a_memory_that_is_none_of_its_encoders_is_refused(name: str, backend: str, tmp_path: Path) -> None:
    made = family(name)
    model = opened(made, "float32", backend, tmp_path)
    memory = dict(model.encode(made.source(5)))
    expected = model.decoder(memory).run(made.target(3))
    held = next(entry for entry in made.graphs[-1].held if -1 in entry.shape)
    value = memory[held.name]
    for wrong in (value[..., :-1, :-1], value[0], value.astype(np.float64)):
        with pytest.raises(ModelError, match=rf"the decoder holds '{held.name}' as float32\[.*given was"):
            model.decoder({**memory, held.name: wrong})
    np.testing.assert_array_equal(model.decoder(memory).run(made.target(3)), expected)


def test_many_streams_hold_nothing(tmp_path: Path) -> None:
    made = family(HELD[0])
    files = written(made, "float32", "native", tmp_path)
    with pytest.raises(ModelError, match="holds what an encoder gives, which is one stream's"):
        edgeseq.backends.open_file(tmp_path / files[-1].path, "native", made.graphs[-1], files[-1], 3)


@pytest.mark.parametrize("half", [0, 1])
@ENGINES
def test_a_file_that_is_damaged_or_of_the_other_half_is_one_sentence(backend: str, half: int, tmp_path: Path) -> None:
    made = family("transformer")
    files = written(made, "float32", backend, tmp_path)
    path, other = (tmp_path / file.path for file in (files[half], files[1 - half]))
    opening = edgeseq.backends.open_whole if made.graphs[half].whole else edgeseq.backends.open_file
    whole = path.read_bytes()
    for content, says in ((whole[: len(whole) // 2], "cannot load it|holds no native"), (other.read_bytes(), "bundle")):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"{path.name}: .*({says})") as told:
            opening(path, backend, made.graphs[half], files[half])
        assert "\n" not in str(told.value)
    path.write_bytes(whole)
    assert opening(path, backend, made.graphs[half], files[half]) is not None
