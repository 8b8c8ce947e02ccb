"""Log lines as tokens, one a line: the number of the template that the line is an instance of, found by Drain."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq import libraries
from edgeseq.errors import ConfigError
from edgeseq.features import _text
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

MAX_LINE = 4000
"""Characters; the rest of a longer line is not looked at, neither in training nor here."""
MAX_BYTES = 64 << 20
PARAMETER = "<*>"
"""What stands in a template for a word that differs from line to line."""


class _Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node of Drain's tree: what is below it, by word, and the templates that end there."""

    children: dict[str, _Node] = {}
    templates: list[int] = []


class _Mined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of templates."""

    schema: int
    header: str
    masks: dict[str, str]
    delimiters: list[str]
    depth: int
    templates: list[list[str]]
    tree: _Node


def mine(
    lines: Iterable[str],
    path: Path,
    *,
    header: str = "",
    masks: Mapping[str, str] | None = None,
    delimiters: Sequence[str] = (),
    depth: int = 4,
    similarity: float = 0.4,
    max_children: int = 100,
) -> list[str]:
    r"""Learn templates from log lines, and write them to a file for `log_templates`; return them, in the tokens' order.

    header: a regular expression; what it matches at a line's beginning (time, host, process) is left out. masks: name
    and regular expression of what is known to differ, replaced one after another: {"IP": r"\d+\.\d+\.\d+\.\d+"} makes
    <IP> of an address. delimiters: what separates words beside blanks. depth, similarity, max_children: as Drain has
    them. The order of the lines matters: templates are numbered as they first occur. Raises ConfigError.
    Source: He et al., "Drain: an online log parsing approach with fixed depth tree", ICWS 2017; the package drain3.
    """
    library = libraries.drain()
    mined = _Mined(1, header, dict(masks or {}), list(delimiters), depth, [], _Node())
    content = _Content(mined)
    try:
        drain = library.Drain(
            depth=depth,
            sim_th=similarity,
            max_children=max_children,
            extra_delimiters=delimiters,
            param_str=PARAMETER,
        )
    except ValueError as cause:
        raise ConfigError(f"{cause}.") from cause
    for line in lines:
        cleaned = content(line)
        if cleaned:
            drain.add_log_message(cleaned)
    if not drain.id_to_cluster:
        raise ConfigError("there is no line to learn templates from.")
    templates = [list(drain.id_to_cluster[k + 1].log_template_tokens) for k in range(len(drain.id_to_cluster))]
    whole = msgspec.structs.replace(mined, templates=templates, tree=_written(drain.root_node))
    # Written aside and renamed: whoever reads it never finds a part.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(msgspec.json.format(msgspec.json.encode(whole), indent=1))
    Path(file.name).replace(path)
    return [" ".join(words) for words in templates]


class LogTemplates(Remembering):
    """Gives `<channel>.template`, a token for each line, at the time of its line end: the number of its template.

    templates: the file that `edgeseq.features.log_templates.mine` wrote from the training logs. It is not changed: a
    template keeps its number. unknown: the token of lines without a template; default: as many as there are templates,
    the next number. channel: the one that carries the text, as code points; default: the only one.

    Blank lines give nothing, a line without an end does not come out, and of one above 4,000 characters the rest is not
    looked at. A NaN comes out as NaN, and what has begun of its line not at all. What is no code point counts as
    U+FFFD.

    No kernel: drain3 walks a tree of dicts, and Python's re masks the lines. Reference: `drain3.TemplateMiner`.
    """

    _remembers = ("_begun",)

    def __init__(self, *, templates: Path, unknown: int | None = None, channel: str | None = None) -> None:
        library = libraries.drain()
        mined = _read(templates)
        self._content = _Content(mined)
        self._drain = library.Drain(depth=mined.depth, extra_delimiters=mined.delimiters, param_str=PARAMETER)
        for place, words in enumerate(mined.templates):
            self._drain.id_to_cluster[place + 1] = library.LogCluster(words, place + 1)
        self._drain.root_node = _tree(library, mined.tree)
        self._unknown = len(mined.templates) if unknown is None else unknown
        _text.check_unknown(self._unknown)
        self._channel = channel
        self._begun = ""

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz, noise that is no text."""
        path = Path(tempfile.mkdtemp(prefix="edgeseq-")) / "templates.json"
        mine(["door opened by anna", "door opened by ben", "alarm off"], path)
        return {"templates": path, "channel": "a"}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channel. Raises ConfigError if it is missing, or not clear."""
        self._place = _text.place(spec, self._channel)
        self.reset()
        return _text.tokens(spec, self._place, "template")

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a token for each line that has ended, float32[n, 1]."""
        rows = _text.Rows()
        for times, text in _text.pieces(t_ns, values[:, self._place]):
            if text is None:
                self._begun = ""
                rows.add(times[0], np.nan)
                continue
            begin = 0
            while (end := text.find("\n", begin)) >= 0:
                cleaned = self._content(self._begun + text[begin:end])
                if cleaned:
                    found = self._drain.match(cleaned, full_search_strategy="fallback")
                    rows.add(times[end], self._unknown if found is None else found.cluster_id - 1)
                self._begun, begin = "", end + 1
            if len(self._begun) < MAX_LINE:  # the rest of a long line takes no memory
                self._begun += text[begin : begin + MAX_LINE - len(self._begun)]
        return rows.output()

    def reset(self) -> None:
        """Forget the line that has begun."""
        self._begun = ""


class _Content:
    """What of a line Drain is shown: without its header, with masks."""

    def __init__(self, mined: _Mined) -> None:
        try:
            self._header = re.compile(mined.header)
            self._masks = [(re.compile(pattern), f"<{name}>") for name, pattern in mined.masks.items()]
        except re.error as cause:
            raise ConfigError(f"{cause.pattern!r} is no regular expression: {cause}.") from cause

    def __call__(self, line: str) -> str:
        """Return it; "" where there is nothing."""
        line = line[:MAX_LINE]
        found = self._header.match(line)
        line = line[found.end() :] if found else line
        for pattern, name in self._masks:
            line = pattern.sub(lambda _, name=name: name, line)  # type: ignore[misc]
        return line.strip()


def _read(path: Path) -> _Mined:
    """Read and check a file of templates. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        mined = msgspec.json.decode(raw, type=_Mined) if len(raw) <= MAX_BYTES else None
    except OSError as cause:
        raise ConfigError(f"{path}: cannot be read: {cause.strerror or cause}.", "templates") from cause
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{path}: is no file of log templates: {cause}.", "templates") from cause
    if mined is None or mined.schema != 1 or mined.depth < 3 or not mined.templates:  # noqa: PLR2004 - Drain's least
        raise ConfigError(f"{path}: is no file of log templates of schema 1.", "templates")
    nodes = [mined.tree]
    while nodes:
        node = nodes.pop()
        nodes += node.children.values()
        if any(not 0 <= place < len(mined.templates) for place in node.templates):
            raise ConfigError(f"{path}: its tree names a template that there is not; it is damaged.", "templates")
    return mined


def _written(node: Any) -> _Node:
    """Return a tree of Drain's as it is written."""
    children = {word: _written(child) for word, child in node.key_to_child_node.items()}
    return _Node(children, [number - 1 for number in node.cluster_ids])


def _tree(library: Any, node: _Node) -> Any:
    """Return a tree as Drain has it."""
    made = library.Node()
    made.key_to_child_node = {word: _tree(library, child) for word, child in node.children.items()}
    made.cluster_ids = [place + 1 for place in node.templates]
    return made
