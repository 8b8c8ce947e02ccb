"""Pictures of a graph for people: as trained, and as a step.

- boxes.py: a graph as boxes and what runs between them
- blocks.py: what repeats is drawn once, what is too much is left out
- mermaid.py: boxes as the text of a Mermaid flowchart, which GitHub and GitLab draw
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeseq.parts import called
from export.diagram import blocks, mermaid
from export.diagram.boxes import Drawing, as_step, as_trained, whole

LEGEND = (
    "Orange works over time, which a step does with states, in blue: each enters the step and leaves it. Operators one "
    "behind another share a box; constants, and what only changes shapes, are not drawn."
)


def pictures(before: Drawing, after: Mapping[str, Drawing]) -> list[str]:
    """Return both as lines of Markdown. after: the step, or the graphs of an encoder-decoder by their names."""
    lines = ["## As trained, and as a step", "", LEGEND, "", "As trained:", "", *_drawn(before)]
    for name, drawing in after.items():
        lines += ["As a step:" if name == "step" else f"{called(name).capitalize()}:", "", *_drawn(drawing)]
    return lines


def _drawn(drawing: Drawing) -> list[str]:
    shown, left_out = blocks.fold(drawing)
    note = [f"{left_out} boxes in the middle were left out.", ""] if left_out else []
    return ["```mermaid", *mermaid.flowchart(shown), "```", "", *note]


__all__ = ["LEGEND", "Drawing", "as_step", "as_trained", "pictures", "whole"]
