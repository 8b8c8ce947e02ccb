"""Sequences over a small alphabet, such as DNA, as tokens: one for each stretch of k letters."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba.core import types

from edgeseq.errors import ConfigError
from edgeseq.features import _letters, _text
from edgeseq.features._windows import Windows
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

_F, _I = types.float32, types.int64
_OUTSIDE, _LEFT_OUT = -1.0, -2.0
"""What a letter is that the alphabet does not have, and one that is passed over."""


def reference(text: str, k: int, stride: int, alphabet: str, unknown: int | Literal["skip"]) -> list[int]:
    """Return the tokens of a text.

    Source: Compeau and Pevzner, "Bioinformatics algorithms", chapter 1, PatternToNumber.
    """
    found = []
    for begin in range(0, len(text) - k + 1, stride):
        letters = [alphabet.find(letter) for letter in text[begin : begin + k]]
        token: int | str = 0
        for letter in letters:
            token = (
                unknown if isinstance(token, str) or letter < 0 or min(letters) < 0 else token * len(alphabet) + letter
            )
        found.append(token)
    return [token for token in found if isinstance(token, int)]


@entry(types.void(_F[::1], _I, _I, _I, _F, _F[::1]))
def numbers(digits: Any, k: Any, stride: Any, base: Any, unknown: Any, y: Any) -> None:
    """Write y[token], the number of k digits every `stride`; NaN if one of them is, else unknown if one is _OUTSIDE."""
    for n in range(len(y)):
        number, missing, outside = 0, False, False
        for digit in digits[n * stride : n * stride + k]:
            missing |= np.isnan(digit)
            outside |= digit < 0
            number = number * base + (0 if np.isnan(digit) else np.int64(digit))
        y[n] = np.nan if missing else unknown if outside else number


class Kmers(Remembering):
    r"""Gives `<channel>.kmer`, a token for each k letters in a row, at the time of the last of them.

    k: letters a token. alphabet: the letters; default "ACGT". A token is the number that its letters' places are the
    digits of, the first the highest: with ACGT, k = 2, "CA" is 1 * 4 + 0. stride: letters from one token to the next;
    default 1. unknown: the token of k letters of which one is not in the alphabet (N, a line's end), or "skip": they
    give none. ignore_case: read a as A. leave_out: letters that are passed over, such as "\n" where lines only wrap.
    channel: the one that carries the text, as code points; default: the only one.

    A token that leans on a NaN is NaN. What is no code point is not in the alphabet. Up to 2^24 tokens: ACGT, k = 12.
    """

    _remembers = ("_windows",)

    def __init__(
        self,
        *,
        k: int,
        unknown: int | Literal["skip"],
        alphabet: str = "ACGT",
        stride: int = 1,
        ignore_case: bool = False,
        leave_out: str = "",
        channel: str | None = None,
    ) -> None:
        _text.check_unknown(unknown)
        letters = [alphabet.upper(), alphabet.lower()] if ignore_case else [alphabet]
        if not alphabet or any(len(case) > len({*case}) or len(case) != len(alphabet) for case in letters):
            raise ConfigError(f"alphabet must be different letters, not {alphabet!r}.", "alphabet")
        if k < 1 or len(alphabet) ** k > _text.MAX_TOKENS:
            raise ConfigError(f"k must be at least 1, and {len(alphabet)}^k at most 2^24; not {k}.", "k")
        if {*leave_out} & {*"".join(letters)}:
            raise ConfigError("leave_out has a letter of the alphabet.", "leave_out")
        codes = {each: float(digit) for case in letters for digit, each in enumerate(case)}
        self._table = _letters.table({**codes, **dict.fromkeys(leave_out, _LEFT_OUT)}, _OUTSIDE)
        self._base = len(alphabet)
        self._windows = Windows(k, stride, 1)
        self._unknown, self._channel = _letters.SKIPPED if isinstance(unknown, str) else unknown, channel

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz, noise that is no text."""
        return {"k": 3, "stride": 2, "unknown": 64, "channel": "a"}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channel. Raises ConfigError if it is missing, or not clear."""
        self._place = _text.place(spec, self._channel)
        self._look_up, self._kernel = _letters.looked_up.compiled, numbers.compiled
        self.reset()
        return _text.tokens(spec, self._place, "kmer", self._windows.hop)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return the tokens that are complete with these letters, float32[n, 1]."""
        digits: Frames = np.empty(len(t_ns), np.float32)
        self._look_up(np.asarray(values[:, self._place], np.float32), self._table, digits)
        read = digits != _LEFT_OUT
        cut = self._windows.push(t_ns[read], digits[read, None])
        tokens: Frames = np.empty(len(cut.t_ns), np.float32)
        self._kernel(cut.samples[0], self._windows.size, self._windows.hop, self._base, self._unknown, tokens)
        given = tokens != _letters.SKIPPED
        return cut.t_ns[given], tokens[given, None]

    def reset(self) -> None:
        """Forget the letters of an unfinished token: the next one begins with the next letter."""
        self._windows.reset()
