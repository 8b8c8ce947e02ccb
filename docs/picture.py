"""Draws the demos' own live views, as they stand when most of the frames have passed: docs/demo.svg, docs/keyword.svg.

Run it from a checkout after a change of the view: python docs/picture.py
"""

import io
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from edgeseq.demo import run, scene
from edgeseq.demo.plain import Plain
from edgeseq.demo.view import View

SHARE = 0.93
WIDTH, HEIGHT = 100, 30


class Picture(Plain):
    """Lines on stderr, and at one moment the view."""

    svg = ""

    def changed(self) -> None:
        """Draw once."""
        super().changed()
        if not self.svg and self._watch.frames >= SHARE * self._scene.frames:
            console = Console(record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True)
            view = View(console, self._scene)
            view.show(self._watch, "mosquitto_sub -h 127.0.0.1 -p 1883 -t 'edgeseq/#' -v", self._latency)
            console.print(view.picture(HEIGHT))
            console.print()  # room below the last line
            drawn = console.export_svg(title="edgeseq demo", unique_id="demo")
            # The fonts come from a server; the reader's own will do.
            self.svg = re.sub(r"\s*(@font-face \{.*?\}|<!--.*?-->)", "", drawn, flags=re.DOTALL)


if __name__ == "__main__":
    for name, file in {"turbofan": "demo.svg", "keyword": "keyword.svg"}.items():
        shown = scene.read(name)
        stage = Picture(sys.stderr, shown)
        with tempfile.TemporaryDirectory() as folder:
            run.run(shown, stage, speed=4.0, port=None, report=Path(folder) / "report.html")
        (Path(__file__).parent / file).write_text(stage.svg, encoding="utf-8")
