"""What cannot be exported, with the node's name, the reason and what would work."""

from edgeseq.errors import ConfigError, EdgeseqError

FLOAT_ALONE = "; export float32 alone."
"""How a message ends that tells of a node without an integer form."""


class ExportError(EdgeseqError):
    """A model that cannot become a step, or a step that does not compute what the model does."""


class NoIntegerForm(ExportError):  # noqa: N818 - it is a finding about a model, not a mistake
    """A step that streams in float32 but has a node which cannot be quantized yet."""


class OptionError(ExportError, ConfigError):
    """An option of the export that is wrong in itself: the exit status is that of a usage mistake."""


def node_error(name: str, op_type: str, reason: str) -> ExportError:
    """Return the refusal of one node."""
    return ExportError(f"node '{name}' ({op_type}): {reason}")
