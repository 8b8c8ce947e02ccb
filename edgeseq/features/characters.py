"""Text as tokens, one a character."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.features import _letters, _text
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs


def reference(text: str, vocabulary: list[str], unknown: int | Literal["skip"]) -> list[int]:
    """Return the tokens of a text.

    Source: Karpathy, char-rnn, 2015: a character's token is its place in the vocabulary.
    """
    found = [vocabulary.index(each) if each in vocabulary else unknown for each in text]
    return [token for token in found if not isinstance(token, str)]


class Characters(Remembering):
    """Gives `<channel>.character`, a token for each character, at its time.

    vocabulary: a character each; a character's token is its place, from 0. Longer entries, such as "<pad>", only take
    their place. unknown: the token of all other characters, or "skip": they give none. channel: the one that carries
    the text, as code points; default: the only one.

    A NaN comes out as NaN. What is no code point counts as U+FFFD.
    """

    def __init__(self, *, vocabulary: list[str], unknown: int | Literal["skip"], channel: str | None = None) -> None:
        _text.check_unknown(unknown)
        tokens = {each: token for each, token in _text.numbered(vocabulary).items() if len(each) == 1}
        if not tokens:
            raise ConfigError("vocabulary has no entry that is one character.", "vocabulary")
        self._table = _letters.table(tokens, _letters.SKIPPED if isinstance(unknown, str) else unknown)
        self._channel = channel

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz, noise that is no text."""
        return {"vocabulary": ["<pad>", "a", "b", " "], "unknown": 0, "channel": "a"}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channel. Raises ConfigError if it is missing, or not clear."""
        self._place = _text.place(spec, self._channel)
        self._kernel = _letters.looked_up.compiled
        return _text.tokens(spec, self._place, "character")

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a token a character, float32[n, 1]."""
        tokens: Frames = np.empty(len(t_ns), np.float32)
        self._kernel(np.asarray(values[:, self._place], np.float32), self._table, tokens)
        given = tokens != _letters.SKIPPED
        return t_ns[given], tokens[given, None]

    def reset(self) -> None:
        """Nothing is remembered from character to character."""
