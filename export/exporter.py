"""The whole export in order: frontend → passes → variants → parity → files."""

from __future__ import annotations

from collections.abc import Sequence as Items
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq import bundle as bundles
from edgeseq.bundle import Manifest
from edgeseq.feature_tables import FeatureTables
from edgeseq.tables import suggest
from export import about as abouts
from export import (
    choices,
    diagram,
    encoder_decoder,
    feature_goldens,
    frames,
    goldens,
    origin,
    parity,
    proof,
    reference,
    refusals,
    report,
)
from export.about import About
from export.errors import ExportError, OptionError
from export.frontends import EncoderDecoder, Sequence, load
from export.frontends.example import Example
from export.progress import Progress, silent
from export.proof import Evaluate
from export.variants import KNOWN, Maker, defaults, describe
from export.writers import bundle as writer

if TYPE_CHECKING:
    import torch

    Tensors = torch.Tensor | tuple[torch.Tensor, ...]

Frames = NDArray[np.float32]
Given = Items[Frames] | Items[tuple[Frames, Frames]]
"""Sequences of frames; of an encoder-decoder, pairs of a source and a target."""
GOLDEN_STEPS = 1000


def export(
    source: str | Path | tuple[torch.nn.Module, Tensors],
    output: str | Path,
    *,
    calibration: str | Path | Given | None = None,
    variants: Items[str] | None = None,
    state: Literal["carry"] | None = None,
    window: int | None = None,
    restart: int | None = None,
    attention_window: int | None = None,
    max_steps: int | None = None,
    example: Example | None = None,
    weights: str | Path | None = None,
    input: str | None = None,  # noqa: A002 - the command's option of that name
    time_axis: int | None = None,
    about: About | str | Path | None = None,
    samples: feature_goldens.Samples | None = None,
    default: str | None = None,
    evaluate: Evaluate | None = None,
    progress: Progress = silent,
) -> bundles.Bundle:
    """Export a sequence model to a bundle and return it, read back and verified.

    source: a .onnx file, `module.py:function` giving (module, example), or that pair itself. calibration: frames
    float32[T, features], one array a sequence, a file of them, or a bundle with its own (of an encoder-decoder: pairs
    of a source and a target); without it seeded normal frames stand in, which fits standardized features only. state,
    window, restart: what to make of a model trained on windows of frames (see choices.py); one of them at most.
    attention_window: how many steps attention without a band sees. max_steps: after how many frames at most the stream
    is reset. example: of an ONNX model's input: array, arrays by name, or a file. weights: a file with a PyTorch
    module's state_dict. samples: raw samples of the stream, on which the feature chain is replayed on devices: a file
    that `edgeseq features` reads, or float32[n, channels]; else seeded noise. default: the variant that `auto` loads,
    int8 where there is one. evaluate: gives a variant's accuracy on the task, for bundle.toml. progress: is told the
    stage and how far it is (see progress.py). Raises ExportError naming the node that cannot stream, or the variant
    that misses its tolerance; nothing is left at `output` then.
    """
    _check_variants(KNOWN if variants is None else variants, default)
    output = Path(output).resolve()
    writer.check(output)
    described = about if isinstance(about, About) else abouts.read(Path(about)) if about is not None else About()
    progress("reading the model")
    loaded = _load(source, input_name=input, time_axis=time_axis, example=example, weights=weights)
    if isinstance(loaded, EncoderDecoder):
        choices.exclude(
            "an encoder-decoder", state=state, window=window, restart=restart,
            attention_window=attention_window, evaluate=evaluate,
        )  # fmt: skip
        chain = feature_goldens.chain_of(described, described.stream_for(loaded.source.features), _file(about))
        raw = feature_goldens.make(chain, samples, described.source)
        described = feature_goldens.carried(described, chain)
        return encoder_decoder.export(
            loaded, output, described, calibration, variants, default, max_steps, progress, raw
        )
    sequence = loaded
    _check_described(described, sequence)
    chain = feature_goldens.chain_of(described, described.stream_for(sequence.features), _file(about))
    feature_goldens.check(chain, sequence.features)
    cases, notes = _calibration(calibration, sequence, chain)
    progress("rewriting it to a step")
    before = diagram.as_trained(sequence)
    choice = choices.choose(sequence, cases, state, window, restart)
    stream = refusals.rewritten(choice, sequence, cases, attention_window, max_steps)
    notes.extend(choice.notes())
    sequence, told = reference.bounded(sequence, stream, cases[0])
    notes.extend(told)
    longest, told = reference.longest(stream)
    notes.extend(told)
    graph = describe(stream)
    steps = parity.Steps(graph.frames_per_step, graph.delay)
    known = parity.truths(sequence, cases, choice.length, longest, progress, steps=steps)
    notes.extend(parity.chaos(known))
    raw = feature_goldens.make(chain, samples, described.source)
    described = feature_goldens.carried(described, chain)
    notes.extend(raw.notes)
    # Ranges are seen on each sequence from its reset, and on the long run, where the state goes where it likes. The
    # sequences beyond those that prove the step are for its ranges alone.
    others = parity.resets(cases[parity.SEGMENTS :], longest)
    maker = Maker(stream, [*(truth.frames for truth in known), *others], progress)
    notes.extend(maker.notes)
    with writer.folder(output) as folder:
        golden = parity.truth(sequence, known[0].frames[:GOLDEN_STEPS], choice.length, steps=steps)
        proven = proof.prove(maker, variants, folder, graph, known, golden, evaluate, notes, progress)
        writer.goldens(folder, goldens.arrays(golden, proven.made, graph, progress))
        raw.write(folder)
        told = list(dict.fromkeys([*sequence.notes, *stream.notes, *notes]))
        manifest = Manifest(
            schema=bundles.SCHEMA,
            name=described.name_for(output),
            version=described.version,
            description=described.description,
            stream=described.stream_for(sequence.features),
            features=described.features,
            output=described.output_for(golden.outputs.shape[1]),
            decider=described.decider,
            calibration=described.calibration,
            graphs=[described.on_gap(graph)],
            files=proven.files,
            defaults=defaults(proven.files, default),
            accuracy=proven.accuracy,
            parity=proven.entries,
            origin=origin.of(sequence, told),
        )
        pictures = diagram.pictures(before, {"step": diagram.as_step(stream)})
        text = report.markdown(manifest, proven.drifts, proven.made, told, pictures)
        writer.finish(folder, manifest, text)
        progress("verifying the bundle")
        writer.verified(folder)
    return bundles.read(output)


def _check_variants(variants: Items[str], default: str | None) -> None:
    if not variants:
        raise OptionError("no variant was asked for.")
    for name in variants:
        if name not in (*KNOWN, *bundles.STORAGE):
            raise OptionError(f"there is no variant '{name}'. {suggest(name, (*KNOWN, *bundles.STORAGE))}")
    if len(set(variants)) != len(variants):
        raise OptionError(f"a variant was asked for twice ({', '.join(variants)}).")
    if default is not None and default not in variants:
        raise OptionError(f"the default variant '{default}' is not among those exported ({', '.join(variants)}).")


def _load(
    source: str | Path | tuple[torch.nn.Module, Tensors],
    *,
    input_name: str | None,
    time_axis: int | None,
    example: Example | None,
    weights: str | Path | None,
) -> Sequence | EncoderDecoder:
    file = isinstance(source, str | Path) and str(source).endswith((".onnx", ".keras"))
    if input_name is not None and not file:
        raise OptionError(
            "--input names an input of a file; a PyTorch module's are those of its example, in their order."
        )
    if isinstance(source, str | Path):
        return load(str(source), input_name=input_name, time_axis=time_axis, example=example, weights=weights)
    choices.exclude("a module that comes with its example and its weights", example=example, weights=weights)
    from export.frontends import torch as frontend  # noqa: PLC0415 - PyTorch loads only for PyTorch sources

    module, tensors = source
    return frontend.from_module(module, tensors, type(module).__name__, "", time_axis=time_axis)


def _file(about: About | str | Path | None) -> Path | None:
    return Path(about) if isinstance(about, str | Path) else None


def _check_described(described: About, sequence: Sequence) -> None:
    """Hold the stream against what the model takes, where no features stand between them."""
    if described.stream is not None and not described.features:
        channels = len(described.stream.channels)
        if channels != sequence.features:
            raise ExportError(
                f"[stream] has {channels} channels and there are no features; the model takes {sequence.features} "
                "numbers a frame."
            )


def _calibration(
    given: str | Path | Given | None, sequence: Sequence, chain: FeatureTables
) -> tuple[list[Frames], list[str]]:
    """Return the calibration sequences, checked, and what must be said of them."""
    if given is None:
        note = "no calibration frames were given: seeded normal noise stood in, which fits standardized features only"
        return frames.noise(sequence.inputs), [note]
    if isinstance(given, str | Path):
        read = frames.read(Path(given), chain.digest if chain.tables else None)
        cases = frames.checked(read, sequence.inputs, str(given))
    else:
        cases = frames.checked(list(given), sequence.inputs, "calibration")
    total = sum(map(len, cases))
    return cases, [f"calibrated on {total:,} frames in {len(cases)} sequences"]
