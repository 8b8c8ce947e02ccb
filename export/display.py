"""Shows an export's progress on stderr: stages and a bar on a terminal, a line a stage anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as bars
from rich.console import Console, RenderableType
from rich.text import Text

from export.progress import Progress


class _Bar(bars.BarColumn):
    """A bar for the stage that runs, if it is known how long; a stage that is done needs none."""

    def render(self, task: bars.Task) -> RenderableType:  # type: ignore[override]
        return Text() if task.finished or not task.fields["long"] else super().render(task)


@contextmanager
def shown(console: Console) -> Iterator[Progress]:
    """Give a Progress that shows itself on a console. On a terminal nothing of it is left, whatever ends the export."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _lines(console)
        return
    columns = (
        bars.SpinnerColumn(finished_text="[green]✓[/green]"),
        bars.TextColumn("{task.description}", markup=False),
        _Bar(bar_width=24),
        bars.TextColumn("{task.fields[share]}", style="cyan", justify="right"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as display:
        yield _stages(display)


def _stages(display: bars.Progress) -> Progress:
    """Make a task of each stage; one ends where the next begins."""
    known: dict[str, bars.TaskID] = {}

    def progress(stage: str, done: int = 0, total: int = 0, /) -> None:
        if stage not in known:
            for task in known.values():
                display.update(task, total=1, completed=1, share="")
            known[stage] = display.add_task(stage, total=None, long=False, share="")
        if total:
            # One short of the end: what ends a stage is the next one, not its last frame.
            display.update(
                known[stage], completed=min(done, total - 1), total=total, long=True, share=f"{100 * done // total} %"
            )

    return progress


def _lines(console: Console) -> Progress:
    """Write each stage on a line."""
    last = ""

    def progress(stage: str, _: int = 0, __: int = 0, /) -> None:
        nonlocal last
        if stage != last:
            console.print(stage, markup=False, highlight=False, soft_wrap=True)
            last = stage

    return progress
