"""An encoder-decoder: a source is read, then a target is generated token by token.

What the encoder gives of its source, the memory, the decoder holds while it steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseq import backends
from edgeseq.bundle import Bundle, GenerateTable, Graph, ModelFile
from edgeseq.errors import ModelError
from edgeseq.models import encoder as encoders
from edgeseq.models.encoder import Encoder, Memory
from edgeseq.types import Frames, State, StepModel


class Decoder(StepModel, Protocol):
    """A step model that holds a memory."""

    def hold(self, memory: Memory) -> None:
        """Start anew with a memory."""
        ...


@dataclass(frozen=True)
class Generated:
    """What a decoder gave: its tokens without start and stop, and how sure it was.

    score: the mean log-probability of its tokens, that of stop included. finished: stop was given before the end.
    """

    tokens: tuple[int, ...]
    score: float
    finished: bool


@dataclass(frozen=True)
class _Beam:
    """A beginning of a target: its tokens and their log-probability, the decoder's state, what it says comes next."""

    tokens: tuple[int, ...]
    total: float
    state: State
    logits: Frames

    @property
    def score(self) -> float:
        return self.total / max(len(self.tokens), 1)


class EncoderDecoder:
    """An encoder and a decoder's step. Raises ModelError for what they do not take."""

    def __init__(self, encoder: Encoder, decoder: Decoder, graph: Graph, generate: GenerateTable | None = None) -> None:
        """graph: the decoder's."""
        self._encoder, self._decoder = encoder, decoder
        self._graph = graph
        self._generate = generate
        self.backend, self.variant = decoder.backend, decoder.variant

    def encode(self, source: Frames) -> Memory:
        """Read a source, float32[T, features] or int64[T] tokens; return what the decoder holds."""
        return self._encoder.read(_rows(source, self._encoder.width), self._graph.held)

    def decoder(self, memory: Memory) -> Decoder:
        """Return the decoder's step model, freshly reset, holding a memory."""
        self._decoder.hold(memory)
        return self._decoder

    def logits(self, source: Frames, target: Frames) -> Frames:
        """Return what the decoder says at each step of a given target (teacher forcing), float32[T, outputs]."""
        model = self.decoder(self.encode(source))
        given: Frames = model.run(_rows(target, sum(self._graph.widths)))
        return given

    def generate(
        self,
        source: Frames,
        *,
        beams: int = 1,
        start: int | None = None,
        stop: int | None = None,
        max_length: int | None = None,
    ) -> Generated:
        """Generate a target: greedily, or as the best of `beams` that are followed side by side.

        start, stop, max_length: the bundle's own where not given; max_length counts stop. A beam that gives stop is
        done, and the search goes on with one beam less; of all in the end, the one with the best score is returned
        (Sutskever, Vinyals and Le, "Sequence to sequence learning with neural networks", 2014, section 3.2, with
        scores by mean instead of sum, which does not favour short targets).
        """
        own = self._generate
        start, stop = own.start if start is None and own else start, own.stop if stop is None and own else stop
        length = max_length if max_length is not None else own.max_length if own else None
        if start is None or length is None:
            raise ModelError(
                "the bundle has no [generate] table: give `start` (the token to begin with) and max_length."
            )
        if beams < 1 or length < 1:
            raise ModelError(f"beams and max_length are at least 1, not {beams} and {length}.")
        if self._graph.max_steps is not None and length > self._graph.max_steps:
            raise ModelError(f"the decoder is made for {self._graph.max_steps} steps; max_length {length} is more.")
        model = self.decoder(self.encode(source))
        first = model.step(_token(start))
        done: list[_Beam] = []
        alive = [_Beam((), 0.0, model.get_state(), first)]
        for number in range(1, length + 1):
            following = []
            for beam, token, total in _best(alive, beams - len(done)):
                if token == stop:
                    done.append(_Beam((*beam.tokens, token), total, beam.state, beam.logits))
                    continue
                logits = beam.logits
                if number < length:
                    model.set_state(beam.state)
                    logits = model.step(_token(token))
                following.append(_Beam((*beam.tokens, token), total, model.get_state(), logits))
            alive = following
            if not alive:
                break
        best = max([*done, *alive], key=lambda beam: beam.score)
        finished = bool(best.tokens) and best.tokens[-1] == stop
        return Generated(best.tokens[:-1] if finished else best.tokens, best.score, finished)


def load(bundle: Bundle, backend: str = "auto", variant: str = "auto") -> EncoderDecoder:
    """Load a bundle's encoder and decoder. Raises BundleError or ModelError."""
    backend, variant = backends.chosen(bundle, backend, variant)
    files = [bundle.file(variant, backends.FORMATS[backend], graph.name) for graph in bundle.manifest.graphs]
    return opened(bundle.path, backend, bundle.manifest.graphs, files, bundle.manifest.generate)


def opened(
    path: Path,
    backend: str,
    graphs: Sequence[Graph],
    files: Sequence[ModelFile],
    generate: GenerateTable | None = None,
) -> EncoderDecoder:
    """Open the files of an encoder's parts and of its decoder in a folder on a backend. Raises ModelError."""
    encoder = encoders.opened(path, backend, graphs[:-1], files[:-1])
    decoder: Any = backends.open_file(path / files[-1].path, backend, graphs[-1], files[-1])
    return EncoderDecoder(encoder, decoder, graphs[-1], generate)


def _rows(given: Frames, width: int) -> Frames:
    """Return frames as rows [T, width]; tokens may come as a plain list of them."""
    rows = np.asarray(given)
    rows = rows[:, None] if rows.ndim == width == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != width or not len(rows):  # noqa: PLR2004 - frames are a matrix
        raise ModelError(f"the source and the target have the shape (T, {width}), T at least 1, not {rows.shape}.")
    return rows


def _token(token: int) -> Any:
    return np.array([token], np.int64)


def _best(alive: list[_Beam], count: int) -> list[tuple[_Beam, int, float]]:
    """Return the most probable continuations by one token, at most `count`; of equals the first."""
    totals = np.concatenate([beam.total + _log_softmax(beam.logits) for beam in alive])
    width = len(alive[0].logits)
    order = np.argsort(-totals, kind="stable")[:count]
    return [(alive[at // width], int(at % width), float(totals[at])) for at in order]


def _log_softmax(logits: Frames) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
