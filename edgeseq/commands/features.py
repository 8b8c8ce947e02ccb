"""`edgeseq features`: the feature frames that a model is trained on, by the very code that runs on the device."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseq import helpers
from edgeseq.errors import ConfigError, EdgeseqError

if TYPE_CHECKING:
    from edgeseq.recordings.files import Job
    from edgeseq.recordings.framing import Recipe

HELP = """\
Runs a feature chain over recorded data and writes the frames that come out: the same code on the same blocks as on the
device, so the same frames, bit for bit.

  edgeseq features chain.toml --input run-7.wav --output run-7.npz
  edgeseq features chain.toml --input recordings --output frames
  edgeseq features my-bundle --input june.parquet july.parquet --output frames --format parquet

CONFIG is a TOML file with [stream] (rate_hz, channels with their units) and [[features]], which need no model; a
pipeline's TOML file, whose bundle has them; or a bundle's folder. Its [source], if there is one, holds keys of the csv,
parquet and audio sources: which columns, times, missing values.

--input takes .csv, .parquet, .wav, .flac, .ogg and folders, searched through. One file is written to --output, of the
format that its ending tells; several, and those of a folder, below the folder --output as they lay before:
  .npz       t_ns, frames, gap, stream, streams, names, units, rate_hz, chain
  .csv       the same as rows, below a line of JSON
  .parquet   the same as columns, the JSON in the schema
`chain` is a sum over stream and chain: files that differ in it are not of one training set. A frame that is not finite
is left out and counted; `gap` is true where something was lost before a frame.

All files are looked at before the first one is read. Each output appears when it is complete. Exit status: 0 done,
1 failed for some file, 2 configuration."""

ENDINGS = (".npz", ".csv", ".parquet")


@dataclass(frozen=True)
class Done:
    """What became of one file. output: None where it was not written; reason: why."""

    input: str
    output: str | None
    reason: str | None = None
    samples: int = 0
    frames: int = 0
    streams: int = 0
    gaps: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a TOML file, or a bundle's folder")
    parser.add_argument("--input", type=Path, nargs="+", required=True, metavar="PATH", help="files and folders")
    parser.add_argument("--output", type=Path, required=True, metavar="PATH", help="a file, or a folder for several")
    parser.add_argument(
        "--format", choices=[ending[1:] for ending in ENDINGS], default="npz", help="of files in a folder (default npz)"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="processes at once (default: one a processor)")
    parser.add_argument("--json", action="store_true", help="what was done as one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Read, check all, then make the frames."""
    from edgeseq.commands import _bar, _common
    from edgeseq.recordings import files, framing

    _common.log_to_stderr(verbose=False)
    if args.jobs is not None and args.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, not {args.jobs}.")
    found = files.jobs(args.input, args.output, ENDINGS, f".{args.format}")
    recipe = framing.read(args.config)
    framing.fits(recipe, [job.data for job in found.jobs])
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = min(args.jobs or processors, len(found.jobs))
    work = _Here(args.config, len(found.jobs)) if at_once == 1 else _Pool(args.config, len(found.jobs), at_once)
    done: list[Done] = []
    sizes = [job.data.stat().st_size for job in found.jobs]
    with _common.stopped_by_signals(work), _bar.over(sizes, work.parts, shown=not args.json) as advance:
        for each in work.run(found.jobs):
            done.append(each)
            advance()
    done.sort(key=lambda each: each.input)
    whole = len(done) == len(found.jobs) and all(each.output for each in done)
    if args.json:
        document = {
            "config": str(args.config),
            "chain": recipe.chain.digest,
            "rate_hz": recipe.frame.rate_hz,
            "channels": [{"name": channel.name, "unit": channel.unit} for channel in recipe.frame.channels],
            "left_out": [str(path) for path in found.left_out],
            "files": [asdict(each) for each in done],
        }
        print(json.dumps(document, indent=2))
    else:
        print(_words(recipe, done, len(found.jobs), len(found.left_out)), file=sys.stderr)
    return int(not whole)


def make(config: Path, job: Job, stopped: Callable[[], bool], tell: Callable[[float], None]) -> Done | None:
    """Make the frames of one file; None if `stopped` said so before they were complete.

    tell: is told how much of the file is done, 0 to 1.
    """
    from edgeseq.recordings import length
    from edgeseq.recordings.frames_file import FramesFile
    from edgeseq.recordings.framing import Counts

    recipe, counts = _recipe(config), Counts()
    try:
        with FramesFile(job.output, recipe.frame, recipe.chain.digest) as file:
            total = 0
            for part in recipe.frames(job.data, counts):
                total = total or length.samples(job.data)  # the file has been opened, and is one
                if stopped():
                    return None
                file.write(part)
                tell(min(1.0, counts.samples / total))
            file.keep()
    except EdgeseqError as cause:
        return Done(str(job.data), None, str(cause))
    finally:
        tell(1.0)
    told = {**asdict(counts), "dropped": {reason: count for reason, count in counts.dropped.items() if count}}
    return Done(str(job.data), str(job.output), **told)


_known: dict[Path, Recipe] = {}


def _recipe(config: Path) -> Recipe:
    """Read a configuration once a process."""
    if config not in _known:
        from edgeseq.recordings import framing

        _known.clear()
        _known[config] = framing.read(config)
    return _known[config]


class _Here:
    """Makes one file after the other, in this process."""

    def __init__(self, config: Path, count: int) -> None:
        self._config = config
        # How much of each file is done, 0 to 1.
        self.parts = [0.0] * count
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        for place, job in enumerate(jobs):
            tell = partial(self.parts.__setitem__, place)
            done = None if self._stop.is_set() else make(self._config, job, self._stop.is_set, tell)
            if done:
                yield done


class _Pool:
    """Makes several files at once, in processes of their own."""

    def __init__(self, config: Path, count: int, at_once: int) -> None:
        self._config = config
        # What a process inherits by forking, locks that other threads hold, has no place in it.
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        # As above, in memory that the processes share.
        self.parts = self._context.RawArray("d", count)
        self._at_once = at_once

    def stop(self) -> None:
        self._stop.set()

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        with ProcessPoolExecutor(self._at_once, self._context, _begin, (self._stop, self.parts)) as pool:
            waiting = {pool.submit(_in_pool, self._config, job, place): job for place, job in enumerate(jobs)}
            for future in as_completed(waiting):
                job = waiting[future]
                try:
                    done = future.result()
                except BrokenProcessPool:
                    reason = "a process that made frames was ended from outside; mostly memory is short: try --jobs 1."
                    done = Done(str(job.data), None, reason)
                if done:
                    yield done


_stop: Any = None
_parts: Any = None


def _begin(stop: Any, parts: Any) -> None:
    """Prepare a process of the pool: the signals of a terminal reach all of them, and the first one alone answers."""
    global _stop, _parts  # what a process of a pool is given when it begins has no other place
    _stop, _parts = stop, parts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    helpers.end_with_parent()


def _in_pool(config: Path, job: Job, place: int) -> Done | None:
    return None if _stop.is_set() else make(config, job, _stop.is_set, partial(_parts.__setitem__, place))


def _words(recipe: Recipe, done: Sequence[Done], files: int, left_out: int) -> str:
    """Return in words what was done."""
    made = [each for each in done if each.output]
    samples, frames, gaps = (sum(getattr(each, what) for each in made) for what in ("samples", "frames", "gaps"))
    of = f"{len(recipe.frame.channels)} values at {recipe.frame.rate_hz:g} Hz"
    lines = [
        f"{len(made):,} of {files:,} files: {samples:,} samples, {gaps:,} gaps -> {frames:,} frames of {of}",
        f"  chain {recipe.chain.digest}",
    ]
    dropped: Counter[str] = Counter()
    for each in made:
        dropped.update(each.dropped)
    if dropped:
        lines.append("  dropped: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(dropped.items())))
    if short := [each.input for each in made if not each.frames]:
        lines.append(f"  without a frame, since too short for the chain: {len(short):,} files, the first is {short[0]}")
    if left_out:
        lines.append(f"  left out: {left_out:,} files of other kinds")
    lines += [f"  not written: {each.input}: {each.reason}" for each in done if not each.output]
    if len(done) < files:
        lines.append(f"  stopped: {files - len(done):,} files were not begun, or not finished and not written")
    return "\n".join(lines)
