"""A bar on a terminal over several files, that moves within each of them too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def over(sizes: Sequence[int], parts: Sequence[float], *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show how much is done; yield what is called when a file is.

    sizes: of the files, in bytes. parts: how much of each is done, 0 to 1; it is looked at ten times a second, whoever
    writes it: a process of a pool, where it is memory that several share.
    """
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield lambda: None
        return

    class Bar(Progress):
        """Looks at the parts whenever it is drawn."""

        def get_renderables(self) -> Iterator[RenderableType]:
            for task in self.tasks:
                self.update(task.id, completed=sum(size * part for size, part in zip(sizes, parts, strict=True)))
            yield from super().get_renderables()

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Bar(*columns, console=console) as bar:
        task, finished = bar.add_task(f"0 of {len(sizes)} files", total=sum(sizes)), 0

        def advance() -> None:
            nonlocal finished
            finished += 1
            bar.update(task, description=f"{finished} of {len(sizes)} files")

        yield advance
