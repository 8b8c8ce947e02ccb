"""Where a bundle came from: the model, the tools, and what was noted on the way."""

from __future__ import annotations

from collections.abc import Sequence as Items
from importlib.metadata import version as version_of

from edgeseq.bundle import Origin
from export.frontends import EncoderDecoder, Sequence

TOOLS = ("edgeseq", "onnx", "onnxruntime", "numpy")


def of(model: Sequence | EncoderDecoder, notes: Items[str]) -> Origin:
    """Return the origin of a model exported here and now."""
    tools = {name: version_of(name) for name in TOOLS}
    return Origin(
        framework=model.framework, source=model.origin, sha256=model.sha256, tools=tools, note="\n".join(notes)
    )
