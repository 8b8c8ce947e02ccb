"""The live view: every stream's curve, level and number, the alerts as they go out, the speed. Drawn with rich."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgeseq.demo.chart import area
from edgeseq.demo.result import Result
from edgeseq.demo.scene import Scene
from edgeseq.demo.stage import Latency
from edgeseq.demo.story import Track
from edgeseq.demo.watch import Watch
from edgeseq.types import Event

REDRAW_S = 0.08
COLOURS = ("green", "yellow", "red")
"""By severity: ok, warning, critical."""
MARKS = ("●", "▲", "■")
"""The same without colour."""
FIXED_ROWS = 8
"""Title, blank, heading and its rule, the alerts' frame, two lines at the foot."""
MIN_ALERTS = 4
MAX_CURVE_ROWS = 3


@dataclass(frozen=True)
class Curve:
    """One stream's values so far, as wide as its column, each character in the colour of the level at its time."""

    track: Track
    rows: int
    high: float

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        track, columns = self.track, options.max_width
        span = track.frames or max(len(track.values), 1)
        for line in area(track.values, span, columns, self.rows, self.high):
            text = Text(no_wrap=True)
            for column, character in enumerate(line):
                index = min((column + 1) * span // columns, len(track.severities)) - 1
                text.append(character, COLOURS[track.severities[index]] if index >= 0 else "")
            yield text


class View:
    """Takes over the terminal while the demo runs; afterwards the last curves and the summary stay in it."""

    def __init__(self, console: Console, scene: Scene) -> None:
        self._console = console
        self._scene = scene
        self._drawn = 0.0
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        """Wait: the terminal is taken over when the pipeline starts."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back as it was."""
        self._live.stop()

    def opened(self, watch: Watch, listen: str, latency: Latency) -> None:
        """Take over the terminal."""
        self.show(watch, listen, latency)
        self._live.start()

    def show(self, watch: Watch, listen: str, latency: Latency) -> None:
        """Learn what pictures are of."""
        self._watch, self._listen, self._latency = watch, listen, latency

    def changed(self) -> None:
        """Redraw if the last picture is old enough."""
        now = time.perf_counter()
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._live.update(self.picture(self._console.height), refresh=True)

    def told(self, _event: Event) -> None:
        """Leave it to the next picture."""

    def ended(self, result: Result) -> None:
        """Print the last curves and what it came to."""
        rows = Table.grid(padding=(0, 2))
        rows.add_column(justify="right", style="dim")
        rows.add_column(overflow="fold")
        for name, text in result.rows():
            rows.add_row(f" {name}", text)
        tracks = list(self._watch.tracks.values())
        self._console.print(self._head(self._watch), "", self._curves(tracks, 1, hidden=0), "", rows, sep="\n")

    def picture(self, height: int) -> RenderableType:
        """Return the whole screen, `height` rows high at most."""
        watch = self._watch
        tracks = list(watch.tracks.values())
        spare = height - FIXED_ROWS - MIN_ALERTS
        # Curves take what rows there are; what is left beyond that goes to the alerts.
        curve_rows = min(max(spare // max(len(tracks), 1), 1), MAX_CURVE_ROWS)
        shown = tracks[: max(spare // curve_rows, 1)]
        alerts = max(height - FIXED_ROWS - len(shown) * curve_rows, MIN_ALERTS)
        return Group(
            self._head(watch),
            "",
            self._curves(shown, curve_rows, hidden=len(tracks) - len(shown)),
            self._alerts(watch, alerts),
            self._foot(watch),
        )

    def _head(self, watch: Watch) -> RenderableType:
        row = Table.grid(expand=True)
        row.add_column(no_wrap=True)
        row.add_column(justify="right", no_wrap=True)
        about = watch.about
        row.add_row(
            Text(f" {self._scene.title}", "bold"), Text(f"{about.model} {about.model_version}".strip() + " ", "cyan")
        )
        return row

    def _curves(self, tracks: list[Track], rows: int, hidden: int) -> RenderableType:
        story = self._scene.story
        table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=True, show_edge=False, border_style="dim")
        table.add_column(story.thing, justify="right", no_wrap=True)
        table.add_column(story.heading, ratio=1, no_wrap=True)
        table.add_column(story.columns[0], justify="right", no_wrap=True, min_width=4)
        table.add_column(story.columns[1], justify="right", no_wrap=True, min_width=4, style="dim")
        table.add_column("level", no_wrap=True, min_width=10)
        for track in tracks:
            table.add_row(*self._row(track, rows))
        if hidden:
            table.caption = f"and {hidden} more; a higher terminal shows them"
        return table

    def _row(self, track: Track, rows: int) -> tuple[RenderableType, ...]:
        colour = COLOURS[track.severity]
        # The words stand beside the curve's bottom row.
        drop = "\n" * (rows - 1)
        first, second = self._scene.story.numbers(track)
        return (
            Text(drop + track.name, "dim" if track.ended else ""),
            Curve(track, rows, self._scene.story.high),
            Text(drop + first, f"bold {colour}"),
            Text(drop + second),
            Text(f"{drop}{MARKS[track.severity]} {track.level}", colour),
        )

    def _alerts(self, watch: Watch, rows: int) -> RenderableType:
        text = Text(no_wrap=True, overflow="ellipsis")
        last = watch.news[-rows:]
        for news in last:
            severity = watch.severity(news.event)
            text.append(f"{news.seconds:6.1f} s  ", "dim")
            text.append(f"{MARKS[severity]} {self._scene.story.sentence(news.event)}\n", COLOURS[severity])
        text.append("\n" * (rows - len(last)))
        text.rstrip()
        return Panel(text, title="alerts", title_align="left", box=box.ROUNDED, height=rows + 2, border_style="dim")

    def _foot(self, watch: Watch) -> RenderableType:
        seconds = max(watch.seconds, 1e-9)
        total = self._scene.frames
        row = Table.grid(expand=True, padding=(0, 2))
        for _ in range(3):
            row.add_column(no_wrap=True)
        row.add_column(justify="right", no_wrap=True)
        row.add_row(
            Text(f" {bar(watch.frames, total, 16)}", "cyan"),
            Text(f"{watch.frames:,} of {total:,} frames" if total else f"{watch.frames:,} frames"),
            Text(f"{watch.frames / seconds:,.0f}/s"),
            Text(f"step {self._latency()} "),
        )
        return Group(row, Text(f" listen in:  {self._listen}", "dim", no_wrap=True, overflow="ellipsis"))


def bar(done: int, total: int, columns: int) -> str:
    """Return a progress bar, empty where the total is unknown."""
    filled = min(done * columns // total, columns) if total else 0
    return "━" * filled + "─" * (columns - filled)
