"""Text as tokens by a tokenizer.json of Hugging Face's tokenizers: byte pairs, WordPiece or Unigram."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq import libraries
from edgeseq.errors import ConfigError
from edgeseq.features import _text
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

MAX_WAIT = 1024
"""Characters without a blank; behind them text is cut."""
_NO_BLANKS = "\x1c\x1d\x1e\x1f"
"""Blanks to Python, but not to Unicode's White_Space, which tokenizers go by."""


def reference(path: Path, text: str) -> list[int]:
    """Return the tokens of a whole text.

    Source: Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", ACL 2016, and
    what else the file describes, by the package tokenizers.
    """
    ids: list[int] = libraries.tokenizers().Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False).ids
    return ids


class BytePairs(Remembering):
    r"""Gives `<channel>.token`: what tokenizer.json makes of the text, as soon as no later text can change it.

    tokenizer: the file. end: a character that ends a text, "\n" where each line is one: all its tokens come out, it
    gives none itself, and the next text begins behind it; default: the text never ends. channel: the one that carries
    the text, as code points; default: the only one.

    Tokens never cross the words that the tokenizer's pre-tokenizer cuts text into, and those do not depend on what
    stands behind the next blank. So a word's tokens come out, all at the same time, with the first blank behind it
    (with `end`, if that comes first); the last word of a text without `end` stays. They are those of the whole text; no
    special tokens are added around it. Where 1,024 characters have no blank, text is cut before the last two of their
    words, or behind them if there are no more: tokens there may differ. Refused: a tokenizer without pre-tokenizer,
    unless there is `end`; one that draws at random; one whose added tokens have blanks inside.

    A NaN comes out as NaN, and the next text begins behind it. What is no code point counts as U+FFFD.

    No kernel: the package tokenizers, which is compiled, makes the tokens.
    """

    _remembers = ("_text", "_done", "_blank")

    def __init__(self, *, tokenizer: Path, end: str | None = None, channel: str | None = None) -> None:
        if end is not None and len(end) != 1:
            raise ConfigError(f"end must be one character, not {end!r}.", "end")
        library = libraries.tokenizers()
        if not tokenizer.is_file():
            raise ConfigError(f"{tokenizer}: there is no such file.", "tokenizer")
        try:
            self._tokenizer = library.Tokenizer.from_file(str(tokenizer))
        except Exception as cause:  # the library has no error of its own
            raise ConfigError(f"{tokenizer}: is no tokenizer.json: {cause}.", "tokenizer") from cause
        self._check(tokenizer, end)
        # What shapes whole texts has no place in a stream: special tokens around them, lengths, trimmed offsets.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.post_processor = None
        self._end, self._channel = end, channel
        self._text, self._done, self._blank = "", 0, True

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz, noise that is no text."""
        path = Path(tempfile.mkdtemp(prefix="edgeseq-")) / "tokenizer.json"
        model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\ufffd": 3}, "merges": [["a", "b"]]}
        path.write_text(
            json.dumps({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model}), "utf-8"
        )
        return {"tokenizer": path, "channel": "a"}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channel. Raises ConfigError if it is missing, or not clear."""
        self._place = _text.place(spec, self._channel)
        self.reset()
        return _text.tokens(spec, self._place, "token")

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return the tokens that are final, float32[n, 1]."""
        rows = _text.Rows()
        for times, text in _text.pieces(t_ns, values[:, self._place]):
            if text is None:
                self.reset()
                rows.add(times[0], np.nan)
            else:
                self._read(times, text, rows)
        return rows.output()

    def reset(self) -> None:
        """Forget what has begun: a text begins with the next character."""
        # The text so far, from the last word on that has come out: that one, the context of the next, is _done long.
        self._text, self._done, self._blank = "", 0, True

    def _read(self, t_ns: TimesNs, text: str, rows: _text.Rows) -> None:
        """Read on character by character, so that what comes out, and when, does not depend on how text is split."""
        begin = 0
        for i, each in enumerate(text):
            blank = each.isspace() and each not in _NO_BLANKS
            waiting = len(self._text) - self._done + i + 1 - begin
            ready = 0
            if each == self._end:
                self._text += text[begin:i]
                ready = len(self._text)
            elif blank and not self._blank:
                self._text += text[begin : i + 1]
                ready = len(self._text) - 1
            elif waiting >= MAX_WAIT:
                self._text += text[begin : i + 1]
                ready = self._cut()
            else:
                self._blank = blank
                continue
            begin, everything = i + 1, ready == len(self._text)
            for token in self._taken(ready):
                rows.add(t_ns[i], token)
            self._blank = blank
            if everything:
                self.reset()
        self._text += text[begin:]

    def _taken(self, up_to: int) -> list[int]:
        """Return the tokens of the words that end at a place in the text, or before it, and take them as done."""
        encoding = self._tokenizer.encode(self._text, add_special_tokens=False)
        words = _words(encoding)
        ready = {word for word, (_, end) in words.items() if self._done < end <= up_to}
        if ready:
            begin, end = words[max(ready)]
            self._text, self._done = self._text[begin:], end - begin
        return [token for token, word in zip(encoding.ids, encoding.word_ids, strict=True) if word in ready]

    def _cut(self) -> int:
        """Return up to where a text without blanks is taken: all its words but two, or all of it."""
        ends = sorted(end for _, end in _words(self._tokenizer.encode(self._text, add_special_tokens=False)).values())
        return ends[-3] if len(ends) > 2 and ends[-3] > self._done else len(self._text)  # noqa: PLR2004 - its words but two

    def _check(self, path: Path, end: str | None) -> None:
        """Raise ConfigError for a tokenizer whose tokens a stream cannot have."""
        if self._tokenizer.pre_tokenizer is None and end is None:
            raise ConfigError(
                f"{path}: it has no pre-tokenizer, so that no token is final before the text ends. Say what "
                "ends a text (end).",
                "tokenizer",
            )
        if getattr(self._tokenizer.model, "dropout", None):
            raise ConfigError(f"{path}: it draws at random (dropout). Save it without dropout.", "tokenizer")
        added = [each.content for each in self._tokenizer.get_added_tokens_decoder().values()]
        wrong = next((each for each in added if each.strip() and len(each.split()) > 1), None)
        if wrong is not None:
            raise ConfigError(f"{path}: its added token {wrong!r} has a blank inside, where text is cut.", "tokenizer")
        if self._tokenizer.get_vocab_size() > _text.MAX_TOKENS:
            raise ConfigError(f"{path}: it has more than {_text.MAX_TOKENS:,} tokens.", "tokenizer")


def _words(encoding: Any) -> dict[int, tuple[int, int]]:
    """Return where each word of an encoded text begins and ends."""
    found: dict[int, tuple[int, int]] = {}
    for word, (begin, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        before = found.get(word, (begin, end))
        found[word] = min(before[0], begin), max(before[1], end)
    return found
