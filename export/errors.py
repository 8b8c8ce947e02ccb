"""What cannot be exported, with the node's name, the reason and what would work."""

from edgeseq.errors import EdgeseqError


class ExportError(EdgeseqError):
    """A model that cannot become a step, or a step that does not compute what the model does."""


def node_error(name: str, op_type: str, reason: str) -> ExportError:
    """Return the refusal of one node."""
    return ExportError(f"node '{name}' ({op_type}): {reason}")
