"""Boxes as the text of a Mermaid flowchart. Only labels hold what others have named, and these are escaped.

What is written is the plainest part of the language, a statement a line:

    flowchart TD
      n0["GRU 5 → 12"]:::time          a box; i0([..]) inputs and outputs, s0[(..)] states, h0[/../] what is held
      n0 --> n1                        an edge; <--> where a state enters and leaves, -.-> where it only leaves
      subgraph b0["6 ×"] … end         a block that comes several times
      classDef time fill:#fed7aa       how a kind of box looks, on a light page and on a dark one
"""

from __future__ import annotations

import re

from export.diagram.boxes import Drawing

SHAPES = {
    "box": ('["', '"]'),
    "input": ('(["', '"])'),
    "output": ('(["', '"])'),
    "state": ('[("', '")]'),
    "clock": ('[("', '")]'),
    "held": ('[/"', '"/]'),
}
STYLED = {"input": "ends", "output": "ends", "clock": "state"}
STYLES = (
    "classDef default fill:#f1f5f9,stroke:#94a3b8,color:#0f172a",
    "classDef time fill:#fed7aa,stroke:#ea580c,color:#0f172a,stroke-width:2px",
    "classDef state fill:#bfdbfe,stroke:#2563eb,color:#0f172a,stroke-width:2px",
    "classDef held fill:#ddd6fe,stroke:#7c3aed,color:#0f172a",
    "classDef ends fill:#bbf7d0,stroke:#16a34a,color:#0f172a",
    "classDef block fill:none,stroke:#94a3b8,color:#64748b,stroke-dasharray:4",
)
LONGEST = 40
"""Characters of a name that are shown."""
PLAIN = re.compile(r"[^A-Za-z0-9 ,→×]")


def flowchart(drawing: Drawing) -> list[str]:
    """Return a drawing as lines of Mermaid."""
    inside = {
        key: number for number, (first, size, _) in enumerate(drawing.blocks) for key in range(first, first + size)
    }
    homes = {key: _home(drawing, key, inside) for key in drawing.sources} | {
        key: inside.get(key) for key in drawing.boxes
    }
    lines = ["flowchart TD"]
    lines += [f"  {_node(drawing, key)}" for key, home in homes.items() if home is None]
    for number, (_, _, count) in enumerate(drawing.blocks):
        lines.append(f'  subgraph b{number}["{plain(f"{count} ×")}"]')
        lines += [f"    {_node(drawing, key)}" for key, home in homes.items() if home == number]
        lines.append("  end")
    lines += [f"  {line}" for line in _edges(drawing)]
    used = {line.rpartition(":::")[2] for line in lines}
    styles = [style for style in STYLES if style.split()[1] in {*used, "default"}]
    lines += [f"  {style}" for style in styles]
    if drawing.blocks:
        lines += [f"  {STYLES[-1]}", f"  class {','.join(f'b{number}' for number in range(len(drawing.blocks)))} block"]
    return lines


def plain(name: str) -> str:
    """Return a name as it may stand in a quoted label: every other character by its number, as Mermaid has it."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    shown = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
    return PLAIN.sub(lambda found: f"#{ord(found[0])};", shown)


def _home(drawing: Drawing, key: str, inside: dict[int, int]) -> int | None:
    """Return the block in which a state stands: that of all its boxes."""
    homes = {inside.get(box) for edge in drawing.edges if key in edge for box in edge if isinstance(box, int)}
    return homes.pop() if len(homes) == 1 and drawing.sources[key].kind == "state" else None


def _id(key: int | str) -> str:
    return f"n{key}" if isinstance(key, int) else key


def _node(drawing: Drawing, key: int | str) -> str:
    if isinstance(key, int):
        box = drawing.boxes[key]
        shape, lines, style = "box", box.lines, ":::time" if box.over_time else ""
    else:
        source = drawing.sources[key]
        shape, lines = source.kind, source.lines
        style = f":::{STYLED.get(shape, shape)}"
    opening, closing = SHAPES[shape]
    return f"{_id(key)}{opening}{'<br/>'.join(filter(None, map(plain, lines))) or '#32;'}{closing}{style}"


def _edges(drawing: Drawing) -> list[str]:
    lines = []
    for start, end in drawing.edges:
        if _is_state(drawing, end):
            if (end, start) not in drawing.edges:
                lines.append(f"{_id(start)} -.-> {_id(end)}")
        elif _is_state(drawing, start) and (end, start) in drawing.edges:
            lines.append(f"{_id(start)} <--> {_id(end)}")
        else:
            lines.append(f"{_id(start)} --> {_id(end)}")
    return lines


def _is_state(drawing: Drawing, key: int | str) -> bool:
    return isinstance(key, str) and drawing.sources[key].kind == "state"
