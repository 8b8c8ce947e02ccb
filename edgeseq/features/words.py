"""Text as tokens, one a word."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.features import _text
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

MAX_WORD = 256
"""Characters; longer ones are unknown, and only so much of one is kept."""
Split = Literal["blanks", "marks"]
# Either alternative of "marks" ends by itself: letters where there is no further one, a mark at once.
RULES: dict[Split, re.Pattern[str]] = {"blanks": re.compile(r"\S+"), "marks": re.compile(r"\w+|[^\w\s]")}


def reference(
    text: str, vocabulary: list[str], unknown: int | Literal["skip"], split: Split, *, lowercase: bool
) -> list[int]:
    """Return the tokens of a whole text, its last word included.

    Source: Python's str.split(); of marks NLTK's wordpunct_tokenize, but for marks in a row, which are a word each.
    """
    words = text.split()
    if split == "marks":
        kinds = [(letter.isspace(), letter.isalnum() or letter == "_") for letter in text]
        words, before = [], None
        for letter, kind in zip(text, kinds, strict=True):
            words += [] if kind[0] else [letter]
            if kind[1] and before == kind:
                words[-2:] = [words[-2] + letter]
            before = kind
    words = [word.lower() if lowercase else word for word in words]
    found = [vocabulary.index(word) if word in vocabulary else unknown for word in words]
    return [token for token in found if not isinstance(token, str)]


class Words(Remembering):
    """Gives `<channel>.word`, a token for each word, at the time of the character that ends it: the one behind it.

    split: "blanks": words are what stands between blanks and line ends; "marks": words are letters, digits and
    underscores in a row, and every other character that is no blank is a word by itself, at its own time.
    vocabulary: the words; a word's token is its place, from 0. unknown: the token of all other words, or "skip": they
    give none. lowercase: make words lower-case first. channel: the one that carries the text, as code points; default:
    the only one.

    A word that nothing follows does not come out: end a text with a line end. A NaN comes out as NaN, and the word that
    it breaks not at all. What is no code point counts as U+FFFD. Words above 256 characters are unknown.

    No kernel: Python's re finds the words, and its dict their tokens; both are compiled.
    """

    _remembers = ("_begun",)

    def __init__(
        self,
        *,
        vocabulary: list[str],
        unknown: int | Literal["skip"],
        split: Split = "blanks",
        lowercase: bool = False,
        channel: str | None = None,
    ) -> None:
        _text.check_unknown(unknown)
        self._tokens = _text.numbered(vocabulary)
        if any(len(word) > MAX_WORD for word in vocabulary):
            raise ConfigError(f"vocabulary has a word of over {MAX_WORD} characters.", "vocabulary")
        self._unknown, self._rule, self._split = unknown, RULES[split], split
        self._lowercase, self._channel = lowercase, channel
        self._begun = ""

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz, noise that is no text."""
        return {"vocabulary": ["a", "b"], "unknown": 2, "split": "marks", "channel": "a"}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channel. Raises ConfigError if it is missing, or not clear."""
        self._place = _text.place(spec, self._channel)
        self.reset()
        return _text.tokens(spec, self._place, "word")

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a token for each word that has ended, float32[n, 1]."""
        rows = _text.Rows()
        for times, text in _text.pieces(t_ns, values[:, self._place]):
            if text is None:
                self._begun = ""
                rows.add(times[0], np.nan)
                continue
            before, self._begun = self._begun, ""
            joined, begin = before + text, 0
            while match := self._rule.search(joined, begin):
                begin = match.end()
                at_once = self._split == "marks" and not (match[0][0].isalnum() or match[0][0] == "_")
                if begin == len(joined) and not at_once:
                    self._begun = match[0][: MAX_WORD + 1]
                    break
                token = self._tokens.get(match[0].lower() if self._lowercase else match[0], self._unknown)
                rows.add(times[begin - at_once - len(before)], token)
        return rows.output()

    def reset(self) -> None:
        """Forget the word that has begun."""
        self._begun = ""
